package main

import (
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

func main() {
	token, steps := os.Args[1], os.Args[2:]
	if token != "-" && os.Remove(token) != nil {
		steps = nil
	}
	if len(steps) == 0 {
		steps = []string{"ready", "wait", "taken", "serve", "report"}
	}
	if isConnection() {
		// A worker that was started for its connection does not ask for one.
		steps = without(without(steps, "ready"), "taken")
	}
	for _, s := range steps {
		name, value, _ := strings.Cut(s, ":")
		if err := step(name, value); err != nil {
			fmt.Fprintf(os.Stderr, "badworker: %s: %v\n", s, err)
			os.Exit(99)
		}
	}
}

func isConnection() bool {
	_, err := unix.GetsockoptInt(ipc.FDConnection, unix.SOL_SOCKET, unix.SO_TYPE)
	return err == nil
}

func without(steps []string, name string) []string {
	var kept []string
	for _, s := range steps {
		if s != name {
			kept = append(kept, s)
		}
	}
	return kept
}

// step executes one step. A reaction of the master, such as closing the channel, is no
// error.
func step(name, value string) error {
	switch name {
	case "ready":
		return send(ipc.Ready)
	case "taken":
		return send(ipc.Ack)
	case "drain":
		return send(ipc.Drain)
	case "report":
		return send(report(ipc.Report{BytesIn: 6, BytesOut: 6, Reason: ipc.ReasonEOF}))
	case "assignment":
		msg, err := (&ipc.Assignment{Connection: "x"}).Append(nil)
		if err != nil {
			return err
		}
		return send(msg)
	case "reason": // a report with any reason, quoted as in Go
		text, err := strconv.Unquote(value)
		if err != nil {
			return err
		}
		return send(rawReport(6, text))
	case "value": // a report with one value, both quoted as in Go and separated by a space
		key, text, _ := strings.Cut(value, " ")
		key, err := strconv.Unquote(key)
		if err == nil {
			text, err = strconv.Unquote(text)
		}
		if err != nil {
			return err
		}
		return send(rawReport(6, "eof", ipc.Pair{Key: key, Value: text}))
	case "values": // a report with that many values
		n, err := strconv.Atoi(value)
		pairs := make([]ipc.Pair, n)
		for i := range pairs {
			pairs[i] = ipc.Pair{Key: fmt.Sprintf("k%d", i), Value: "v"}
		}
		if err != nil {
			return err
		}
		return send(rawReport(6, "eof", pairs...))
	case "count": // a report with an arbitrary number of bytes
		n, err := strconv.ParseUint(value, 10, 64)
		if err != nil {
			return err
		}
		return send(rawReport(n, "eof"))
	case "cut": // a report without its last byte
		msg := rawReport(6, "eof")
		msg = msg[:len(msg)-1]
		binary.LittleEndian.PutUint32(msg[4:], uint32(len(msg)-8))
		return send(msg)
	case "version":
		msg := append([]byte(nil), ipc.Ready...)
		msg[2]++
		return send(msg)
	case "type":
		msg := append([]byte(nil), ipc.Ready...)
		msg[3] = 200
		return send(msg)
	case "garbage":
		return send([]byte("GET / HTTP/1.0\r\n\r\n"))
	case "short":
		return send([]byte("p"))
	case "empty":
		return send([]byte{})
	case "oversized":
		return send(make([]byte, 4*ipc.MaxMessage))
	case "descriptors": // a valid message with that many descriptors attached
		n, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		fds := make([]int, n)
		for i := range fds {
			fds[i] = 2
		}
		return sendmsg(ipc.Ready, unix.UnixRights(fds...))
	case "flood": // repeat the step until the master closes the channel
		for {
			if err := step(value, ""); err != nil || gone() {
				return err
			}
		}
	case "wait":
		return wait()
	case "line": // echo one line, byte by byte
		return line()
	case "serve":
		return serve()
	case "close":
		return unix.Close(ipc.FDControl)
	case "shut":
		return unix.Shutdown(ipc.FDControl, unix.SHUT_WR)
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "die":
		return unix.Kill(os.Getpid(), unix.SIGKILL)
	case "exit":
		n, err := strconv.Atoi(value)
		if err != nil {
			return err
		}
		os.Exit(n)
	}
	return fmt.Errorf("unknown step")
}

func report(r ipc.Report) []byte {
	msg, err := r.Append(nil)
	if err != nil {
		panic(err)
	}
	return msg
}

// rawReport encodes a report without checking its bounds.
func rawReport(in uint64, reason string, values ...ipc.Pair) []byte {
	text := func(dst []byte, s string) []byte {
		return append(binary.LittleEndian.AppendUint16(dst, uint16(len(s))), s...)
	}
	msg := []byte{ipc.Ready[0], ipc.Ready[1], ipc.Protocol, byte(ipc.TypeReport), 0, 0, 0, 0}
	msg = binary.LittleEndian.AppendUint64(msg, in)
	msg = binary.LittleEndian.AppendUint64(msg, 6)
	msg = text(msg, reason)
	msg = binary.LittleEndian.AppendUint16(msg, uint16(len(values)))
	for _, v := range values {
		msg = text(text(msg, v.Key), v.Value)
	}
	binary.LittleEndian.PutUint32(msg[4:], uint32(len(msg)-8))
	return msg
}

func send(msg []byte) error { return sendmsg(msg, nil) }

func sendmsg(msg, rights []byte) error {
	for {
		err := unix.Sendmsg(ipc.FDControl, msg, rights, nil, unix.MSG_NOSIGNAL)
		switch err {
		case unix.EINTR:
			continue
		case unix.EPIPE, unix.ECONNRESET:
			return nil
		}
		return err
	}
}

// gone reports whether the master has closed its end of the channel.
func gone() bool {
	fds := []unix.PollFd{{Fd: ipc.FDControl, Events: unix.POLLRDHUP}}
	n, _ := unix.Poll(fds, 0)
	return n > 0
}

// wait waits for an assignment. When a connection comes with it, wait puts the
// connection on its descriptor. The process exits when the master closes the channel.
func wait() error {
	_, _, conn, err := ipc.ReceiveConnection(ipc.FDControl, make([]byte, ipc.MaxMessage), 0)
	switch {
	case err == io.EOF, err == unix.ECONNRESET:
		os.Exit(0)
	case err != nil:
		return err
	case conn >= 0:
		return unix.Dup3(conn, ipc.FDConnection, unix.O_CLOEXEC)
	}
	return nil
}

func line() error {
	for b := make([]byte, 1); b[0] != '\n'; {
		if n, err := unix.Read(ipc.FDConnection, b); n <= 0 {
			return fmt.Errorf("read: %d, %v", n, err)
		}
		if _, err := unix.Write(ipc.FDConnection, b); err != nil {
			return err
		}
	}
	return nil
}

// serve echoes until the client ends its side.
func serve() error {
	b := make([]byte, 4096)
	for {
		n, err := unix.Read(ipc.FDConnection, b)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		if _, err := unix.Write(ipc.FDConnection, b[:n]); err != nil {
			break
		}
	}
	unix.Shutdown(ipc.FDConnection, unix.SHUT_RDWR)
	return unix.Dup3(0, ipc.FDConnection, unix.O_CLOEXEC)
}
