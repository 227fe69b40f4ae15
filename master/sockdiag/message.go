package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// Netlink uses the host's byte order, except for ports and addresses.
var host = binary.NativeEndian

// makeMessage puts the header of a request in front of it (netlink(7)). The flags
// are NLM_F_DUMP for all sockets that the request selects, and 0 for one.
//
//	 0  u32  length, with the header
//	 4  u16  type
//	 6  u16  flags
//	 8  u32  sequence
//	12  u32  port of the sender; 0 lets the kernel fill it in
func makeMessage(sequence uint32, flags uint16, request []byte) []byte {
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	host.PutUint32(message[0:], uint32(unix.SizeofNlMsghdr+len(request)))
	host.PutUint16(message[4:], unix.SOCK_DIAG_BY_FAMILY)
	host.PutUint16(message[6:], unix.NLM_F_REQUEST|flags)
	host.PutUint32(message[8:], sequence)
	return append(message, request...)
}

// errShort reports a message that is shorter than its own length field says.
var errShort = errors.New("a message of sock_diag is cut short")

// parse calls each for every socket in one datagram. It reports whether the
// datagram was the last one of the answer.
func parse(datagram []byte, sequence uint32, each func(socket []byte) error) (done bool, err error) {
	for len(datagram) > 0 {
		if len(datagram) < unix.SizeofNlMsghdr {
			return false, errShort
		}
		length := int(host.Uint32(datagram))
		if length < unix.SizeofNlMsghdr || length > len(datagram) {
			return false, errShort
		}
		kind, answered := host.Uint16(datagram[4:]), host.Uint32(datagram[8:])
		payload := datagram[unix.SizeofNlMsghdr:length]
		datagram = datagram[min(align(length), len(datagram)):]
		if answered != sequence {
			continue // the message belongs to an answer that was given up
		}
		switch kind {
		case unix.NLMSG_DONE:
			// Kernels since 4.16 put the result of the dump here.
			return true, result(payload, true)
		case unix.NLMSG_ERROR:
			return true, result(payload, false)
		case unix.SOCK_DIAG_BY_FAMILY:
			if err := each(payload); err != nil {
				return false, err
			}
		}
	}
	return false, nil
}

// errNoModule is ENOENT of a dump.
var errNoModule = errors.New("the kernel lacks the module for it")

// result returns the error that a message contains as a negative number.
func result(payload []byte, mayBeMissing bool) error {
	if len(payload) < 4 {
		if mayBeMissing {
			return nil
		}
		return errShort
	}
	number := -int32(host.Uint32(payload))
	switch {
	case number == 0:
		return nil
	case number == int32(unix.ENOENT):
		// sock_diag_rcv_msg returns this error for a missing module.
		return errNoModule
	case number < 0:
		return fmt.Errorf("the kernel answers with error %d", -number)
	}
	return fmt.Errorf("the kernel answers: %w", syscall.Errno(number))
}

// attributes yields the attributes of a socket (struct nlattr: length, type).
// It stops at an attribute that does not fit into b.
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofNlAttr {
			length, kind := int(host.Uint16(b)), host.Uint16(b[2:])
			if length < unix.SizeofNlAttr || length > len(b) {
				return
			}
			if !yield(kind, b[unix.SizeofNlAttr:length]) {
				return
			}
			b = b[min(align(length), len(b)):]
		}
	}
}

// align rounds up to the start of the next message or attribute.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
