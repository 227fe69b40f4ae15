package listen

import (
	"encoding/binary"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Of the kernel's sock_diag.h and unix_diag.h, which x/sys does not have.
const (
	sockDiagByFamily = 20
	udiagShowVFS     = 2
	unixDiagVFS      = 1
)

// fileOf returns the inode number, of 32 bits, of the file that a unix socket
// was bound to, by the kernel's account of sockets (sock_diag(7)). Nothing else
// tells it from a file of the same path. The device is left out: for a file of
// an overlay it is not what stat says.
func fileOf(fd int) (ino uint32, err error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return 0, err
	}
	conn, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return 0, os.NewSyscallError("socket", err)
	}
	defer unix.Close(conn)
	const length = unix.SizeofNlMsghdr + 24
	request := binary.NativeEndian.AppendUint32(nil, length)
	request = binary.NativeEndian.AppendUint16(request, sockDiagByFamily)
	request = binary.NativeEndian.AppendUint16(request, unix.NLM_F_REQUEST)
	request = append(request, make([]byte, 8)...)    // sequence number, port
	request = append(request, unix.AF_UNIX, 0, 0, 0) // struct unix_diag_req
	for _, v := range []uint32{^uint32(0), uint32(st.Ino), udiagShowVFS, ^uint32(0), ^uint32(0)} {
		request = binary.NativeEndian.AppendUint32(request, v) // states, inode, show, no cookie
	}
	if err := unix.Sendto(conn, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return 0, os.NewSyscallError("sendto", err)
	}
	// The kernel has answered before sendto returned.
	answer := make([]byte, os.Getpagesize())
	n, _, err := unix.Recvfrom(conn, answer, unix.MSG_DONTWAIT)
	if err != nil {
		return 0, os.NewSyscallError("recvfrom", err)
	}
	messages, err := syscall.ParseNetlinkMessage(answer[:n])
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		// struct unix_diag_msg, then the attributes.
		for rest := m.Data[min(len(m.Data), 16):]; m.Header.Type == sockDiagByFamily && len(rest) >= unix.SizeofNlAttr; {
			size := int(binary.NativeEndian.Uint16(rest))
			if size < unix.SizeofNlAttr || size > len(rest) {
				break
			}
			if binary.NativeEndian.Uint16(rest[2:]) == unixDiagVFS && size >= unix.SizeofNlAttr+8 {
				return binary.NativeEndian.Uint32(rest[unix.SizeofNlAttr:]), nil
			}
			rest = rest[min(len(rest), (size+3)&^3):]
		}
	}
	return 0, errors.New("the kernel does not tell a socket's file")
}
