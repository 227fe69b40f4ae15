package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"syscall"

	"golang.org/x/sys/unix"
)

// Netlink speaks the host's byte order, but for ports and addresses.
var host = binary.NativeEndian

// makeMessage puts a request behind the header of a dump (netlink(7)):
//
//	 0  u32  length, header included
//	 4  u16  type
//	 6  u16  flags
//	 8  u32  sequence
//	12  u32  port of the sender; 0 lets the kernel fill it in
func makeMessage(sequence uint32, request []byte) []byte {
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(request))
	host.PutUint32(message[0:], uint32(unix.SizeofNlMsghdr+len(request)))
	host.PutUint16(message[4:], unix.SOCK_DIAG_BY_FAMILY)
	host.PutUint16(message[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	host.PutUint32(message[8:], sequence)
	return append(message, request...)
}

// errShort reports a message that ends before what it says it holds.
var errShort = errors.New("a message of sock_diag is cut short")

// parse gives the sockets of one datagram to each, and reports whether it was
// the last one of the answer.
func parse(datagram []byte, sequence uint32, each func(socket []byte) error) (done bool, err error) {
	for len(datagram) > 0 {
		if len(datagram) < unix.SizeofNlMsghdr {
			return false, errShort
		}
		length := int(host.Uint32(datagram))
		if length < unix.SizeofNlMsghdr || length > len(datagram) {
			return false, errShort
		}
		kind, of := host.Uint16(datagram[4:]), host.Uint32(datagram[8:])
		payload := datagram[unix.SizeofNlMsghdr:length]
		datagram = datagram[min(align(length), len(datagram)):]
		if of != sequence {
			continue // of an answer that was given up
		}
		switch kind {
		case unix.NLMSG_DONE:
			// With the result of the dump, as kernels since 4.16 have it.
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

// result returns the error that a message holds as a negative number.
func result(payload []byte, mayMiss bool) error {
	if len(payload) < 4 {
		if mayMiss {
			return nil
		}
		return errShort
	}
	number := -int32(host.Uint32(payload))
	switch {
	case number == 0:
		return nil
	case number == int32(unix.ENOENT):
		// sock_diag_rcv_msg has no better word for it.
		return errors.New("the kernel lacks the module for it")
	case number < 0:
		return fmt.Errorf("the kernel answers with error %d", -number)
	}
	return fmt.Errorf("the kernel answers: %w", syscall.Errno(number))
}

// attributes yields the attributes of a socket (struct nlattr: length, type),
// and ends at one that does not fit.
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

// align rounds up to where the next message or attribute begins.
func align(n int) int { return (n + unix.NLMSG_ALIGNTO - 1) &^ (unix.NLMSG_ALIGNTO - 1) }
