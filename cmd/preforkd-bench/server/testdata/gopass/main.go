// Program gopass is the least that a worker written in Go can be to which a
// master passes its connections, see baselinefdpass.c: it receives them on fd 3,
// copies each back to itself, and says when it is over. It links the runtime,
// syscall and nothing else.
package main

import "syscall"

func main() {
	buffer := make([]byte, 64<<10)
	byte1, rights := make([]byte, 1), make([]byte, syscall.CmsgSpace(4))
	for {
		n, size, _, _, err := syscall.Recvmsg(3, byte1, rights, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return // the master is gone
		}
		messages, err := syscall.ParseSocketControlMessage(rights[:size])
		if err != nil || len(messages) != 1 {
			return
		}
		conns, err := syscall.ParseUnixRights(&messages[0])
		if err != nil || len(conns) != 1 {
			return
		}
		echo(conns[0], buffer)
		syscall.Close(conns[0])
		if _, err := syscall.Write(3, byte1); err != nil {
			return
		}
	}
}

// echo returns at the client's end, or when it is gone.
func echo(conn int, buffer []byte) {
	for {
		n, err := syscall.Read(conn, buffer)
		if err == syscall.EINTR {
			continue
		}
		if n <= 0 || err != nil {
			return
		}
		for rest := buffer[:n]; len(rest) > 0; {
			n, err := syscall.Write(conn, rest)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				return
			}
			rest = rest[n:]
		}
	}
}
