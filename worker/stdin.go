package worker

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A stdioConn is a connection on standard input and output, without a master. A person
// or another server has started the program.
type stdioConn struct {
	isSocket     bool // fd 0 is the connection; otherwise fds 0 and 1 are joined into one
	printSummary bool // print a summary to stderr at the end
}

// detectStdio decides whether a worker without the contract's descriptors serves its
// standard input and output. Only these workers do:
//
//   - a worker whose standard input is a stream socket. inetd, tcpserver, socat with
//     EXEC, and preforkd with the stdio handoff start programs so;
//   - a worker that ipc.EnvStdin tells to, for pipes and terminals.
//
// A worker with a control channel never does. There the connection is faulty, and the
// client must not get the standard input instead.
func detectStdio() (s stdioConn, ok bool) {
	if checkSocket(ipc.FDControl, unix.SOCK_SEQPACKET, "") == nil {
		return stdioConn{}, false
	}
	s.isSocket = checkSocket(0, unix.SOCK_STREAM, "") == nil
	s.printSummary = os.Getenv(ipc.EnvStdin) == "1"
	return s, s.isSocket || s.printSummary
}

// serve serves such a connection. It returns nil or an *exitError.
func (s stdioConn) serve(handler Handler) error {
	open := s.joinPipes
	if s.isSocket {
		open = s.takeSocket
	}
	fd, flushed, err := open()
	if err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("serve standard input and output: %w", err)}
	}
	c := NewConn(fd, ipc.Assignment{
		Connection: firstEnv("stdin", ipc.EnvConnection),
		Service:    firstEnv(programName(), ipc.EnvService),
		Peer:       envAddress(ipc.EnvTCPRemoteIP, ipc.EnvTCPRemotePort, "SOCAT_PEERADDR", "SOCAT_PEERPORT"),
		Local:      envAddress(ipc.EnvTCPLocalIP, ipc.EnvTCPLocalPort, "SOCAT_SOCKADDR", "SOCAT_SOCKPORT"),
	})
	report, end := runHandler(c, handler)
	<-flushed
	if s.printSummary {
		fmt.Fprintf(os.Stderr, "%s: %s, %d bytes in, %d bytes out%s\n",
			programName(), report.Reason, report.BytesIn, report.BytesOut, formatValues(report.Values))
	}
	return end
}

// takeSocket moves the connection away from fds 0 and 1. Afterwards the handler's
// prints go to stderr, as under a master, and not to the client.
func (s stdioConn) takeSocket() (fd int, flushed <-chan struct{}, err error) {
	if fd, err = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3); err != nil {
		return -1, nil, err
	}
	if err = unix.SetNonblock(fd, false); err != nil {
		return -1, nil, err
	}
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	defer unix.Close(null)
	if err = unix.Dup3(null, 0, 0); err == nil {
		err = unix.Dup3(2, 1, 0)
	}
	done := make(chan struct{})
	close(done)
	return fd, done, err
}

// joinPipes makes one socket from standard input and output. One goroutine copies bytes
// in each direction. The handler therefore sees a socket, as it does under a master.
// flushed is closed when everything that the handler wrote has been printed.
func (s stdioConn) joinPipes() (fd int, flushed <-chan struct{}, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	otherEnd := os.NewFile(uintptr(pair[1]), "standard streams")
	go func() {
		io.Copy(otherEnd, os.Stdin)
		unix.Shutdown(pair[1], unix.SHUT_WR)
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(os.Stdout, otherEnd)
		// Nobody reads further input.
		unix.Shutdown(pair[1], unix.SHUT_RDWR)
	}()
	return pair[0], done, nil
}

// firstEnv returns the value of the first variable that is set and not empty. Otherwise
// it returns fallback.
func firstEnv(fallback string, names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return fallback
}

// envAddress builds one end's address from variables that the starting server has set.
// names are pairs: the variable of the host and the variable of the port.
func envAddress(names ...string) string {
	for i := 0; i < len(names); i += 2 {
		host, port := os.Getenv(names[i]), os.Getenv(names[i+1])
		if host == "" || port == "" {
			continue
		}
		if strings.Contains(host, ":") && host[0] != '[' {
			host = "[" + host + "]"
		}
		return host + ":" + port
	}
	return "stdin"
}

// formatValues formats the values of a report for one line.
func formatValues(pairs []ipc.Pair) string {
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, ", %s=%q", p.Key, p.Value)
	}
	return b.String()
}
