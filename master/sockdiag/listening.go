package sockdiag

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Queue is the queue of a listening socket. Length is how many connections
// wait for accept, and Backlog is how many may wait. The kernel allows one more
// than Backlog.
type Queue struct {
	Length, Backlog int
}

// Listening returns the queues of all listening TCP and unix stream sockets.
// The key is the inode number of the socket, which fstat(2) returns for its
// descriptor. So sockets that share an address by SO_REUSEPORT have separate
// entries.
//
// If the kernel tells of some kinds of sockets only, Listening returns those
// and an error for the others.
func Listening() (map[uint64]Queue, error) {
	d, err := open()
	if err != nil {
		return nil, err
	}
	defer d.close()
	queues := map[uint64]Queue{}
	var missing []error
	for _, list := range []struct {
		name    string
		request []byte
		read    func(socket []byte) (inode uint64, q Queue, err error)
	}{
		{"listening TCP sockets over IPv4", inetRequest(unix.AF_INET, 1<<unix.BPF_TCP_LISTEN, 0, nil), readInetQueue},
		{"listening TCP sockets over IPv6", inetRequest(unix.AF_INET6, 1<<unix.BPF_TCP_LISTEN, 0, nil), readInetQueue},
		{"listening unix sockets", unixRequest(1<<unix.BPF_TCP_LISTEN, unixShowQueue), readUnixQueue},
	} {
		err := d.dump(list.request, func(socket []byte) error {
			inode, q, err := list.read(socket)
			if err == nil && inode != 0 {
				queues[inode] = q
			}
			return err
		})
		if err != nil {
			missing = append(missing, fmt.Errorf("list the %s: %w", list.name, err))
		}
	}
	return queues, errors.Join(missing...)
}

// readInetQueue reads the queue of a TCP socket. For a listening one,
// idiag_rqueue is the length and idiag_wqueue is the backlog (inet_diag_fill in
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

// unixRequest returns a struct unix_diag_req:
//
//	 0  u8   family
//	 1  u8   protocol
//	 2  u16  padding
//	 4  u32  states, one bit for each
//	 8  u32  inode; 0 to list every socket
//	12  u32  what to show
//	16  u64  cookie
func unixRequest(states, show uint32) []byte {
	request := make([]byte, 24)
	request[0] = unix.AF_UNIX
	host.PutUint32(request[4:], states)
	host.PutUint32(request[12:], show)
	return request
}

// readUnixQueue reads a struct unix_diag_msg and the attributes after it:
//
//	0  u8   family
//	1  u8   type
//	2  u8   state
//	3  u8   padding
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
