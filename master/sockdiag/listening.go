package sockdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Queue is the accept queue of a listening socket: how many connections wait
// to be accepted, and how many may. The kernel lets one more than Backlog in.
type Queue struct {
	Length, Backlog int
}

// Listening returns the queues of all listening TCP and unix stream sockets by
// the inode of the socket, which is what fstat(2) says of its descriptor. It
// knows sockets apart that share an address by SO_REUSEPORT.
//
// Where the kernel tells of some kinds of sockets only, those come along with
// the error that says what is missing.
func Listening() (map[uint64]Queue, error) {
	d, err := open()
	if err != nil {
		return nil, err
	}
	defer d.close()
	queues := map[uint64]Queue{}
	var missing []error
	for _, ask := range []struct {
		of      string
		request []byte
		read    func(socket []byte) (inode uint64, q Queue, err error)
	}{
		{"listening TCP sockets over IPv4", inetRequest(unix.AF_INET, 1<<unix.BPF_TCP_LISTEN, 0, nil), readInetQueue},
		{"listening TCP sockets over IPv6", inetRequest(unix.AF_INET6, 1<<unix.BPF_TCP_LISTEN, 0, nil), readInetQueue},
		{"listening unix sockets", unixRequest(1<<unix.BPF_TCP_LISTEN, unixShowQueue), readUnixQueue},
	} {
		err := d.dump(ask.request, func(socket []byte) error {
			inode, q, err := ask.read(socket)
			if err == nil && inode != 0 {
				queues[inode] = q
			}
			return err
		})
		if err != nil {
			missing = append(missing, fmt.Errorf("list the %s: %w", ask.of, err))
		}
	}
	return queues, errors.Join(missing...)
}

// readInetQueue reads the queue of a TCP socket. Of a listening one
// idiag_rqueue is the length and idiag_wqueue the backlog (inet_diag_fill in
// net/ipv4/inet_diag.c).
func readInetQueue(socket []byte) (uint64, Queue, error) {
	m, err := readInet(socket)
	if err != nil || m.state != unix.BPF_TCP_LISTEN {
		return 0, Queue{}, err
	}
	return uint64(m.inode), Queue{Length: int(m.receiveQueue), Backlog: int(m.sendQueue)}, nil
}

// Constants of linux/unix_diag.h.
const (
	unixShowQueue = 0x10 // UDIAG_SHOW_RQLEN
	unixQueue     = 4    // UNIX_DIAG_RQLEN: u32 length, u32 backlog

	unixMessageSize = 16 // of a struct unix_diag_msg
)

// unixRequest is a struct unix_diag_req:
//
//	 0  u8   family
//	 1  u8   protocol
//	 2  u16  nothing
//	 4  u32  states, a bit for each
//	 8  u32  inode; 0 in a dump
//	12  u32  what to show
//	16  u64  cookie
func unixRequest(states, show uint32) []byte {
	request := make([]byte, 24)
	request[0] = unix.AF_UNIX
	host.PutUint32(request[4:], states)
	host.PutUint32(request[12:], show)
	return request
}

// readUnixQueue reads a struct unix_diag_msg and the attributes behind it:
//
//	0  u8   family
//	1  u8   type
//	2  u8   state
//	3  u8   nothing
//	4  u32  inode
//	8  u64  cookie
func readUnixQueue(socket []byte) (uint64, Queue, error) {
	if len(socket) < unixMessageSize {
		return 0, Queue{}, errShort
	}
	for kind, value := range attributes(socket[unixMessageSize:]) {
		if kind == unixQueue && len(value) >= 8 && socket[2] == unix.BPF_TCP_LISTEN {
			return uint64(host.Uint32(socket[4:])),
				Queue{Length: int(host.Uint32(value)), Backlog: int(host.Uint32(value[4:]))}, nil
		}
	}
	return 0, Queue{}, nil
}
