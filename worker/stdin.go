package worker

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// A streams is a connection that was not handed over by a master: what a
// program that was started by hand, or by another server, has as standard
// input and output.
type streams struct {
	socket bool // fd 0 is the connection, else it and fd 1 are made into one
	tell   bool // somebody wants to read on stderr how it went
}

// standardStreams decides whether a worker without the descriptors of the
// contract serves its standard input and output. Only these do:
//
//   - one whose standard input is a stream socket, as inetd, tcpserver, socat
//     with EXEC, and preforkd itself with the stdio handoff start programs;
//   - one that is told to by ipc.EnvStdin, for pipes and terminals.
//
// None does that has a control channel: something is wrong with its connection
// then, and its standard input is not what the client should get instead.
func standardStreams() (s streams, ok bool) {
	if checkSocket(ipc.FDControl, unix.SOCK_SEQPACKET, "") == nil {
		return streams{}, false
	}
	s.socket = checkSocket(0, unix.SOCK_STREAM, "") == nil
	s.tell = os.Getenv(ipc.EnvStdin) == "1"
	return s, s.socket || s.tell
}

// serve is the life of such a worker. It returns nil or an *exitError.
func (s streams) serve(handler Handler) error {
	open := s.join
	if s.socket {
		open = s.move
	}
	fd, flushed, err := open()
	if err != nil {
		return &exitError{ipc.ExitDescriptors, fmt.Errorf("serve standard input and output: %w", err)}
	}
	c := NewConn(fd, ipc.Assignment{
		Connection: environ("stdin", ipc.EnvConnection),
		Service:    environ(programName(), ipc.EnvService),
		Peer:       address(ipc.EnvTCPRemoteIP, ipc.EnvTCPRemotePort, "SOCAT_PEERADDR", "SOCAT_PEERPORT"),
		Local:      address(ipc.EnvTCPLocalIP, ipc.EnvTCPLocalPort, "SOCAT_SOCKADDR", "SOCAT_SOCKPORT"),
	})
	report, end := finish(c, handler)
	<-flushed
	if s.tell {
		fmt.Fprintf(os.Stderr, "%s: %s, %d bytes in, %d bytes out%s\n",
			programName(), report.Reason, report.BytesIn, report.BytesOut, values(report.Values))
	}
	return end
}

// move takes the connection off the standard streams. What the handler prints
// goes to stderr from there on, as it does under a master, and not to the
// client.
func (s streams) move() (fd int, flushed <-chan struct{}, err error) {
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

// join makes one socket of the two streams, with a goroutine to carry the
// bytes for each, so that a handler finds by hand what it will find in
// earnest. flushed is closed when all that the handler wrote has been printed.
func (s streams) join() (fd int, flushed <-chan struct{}, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, nil, err
	}
	outside := os.NewFile(uintptr(pair[1]), "standard streams")
	go func() {
		io.Copy(outside, os.Stdin)
		unix.Shutdown(pair[1], unix.SHUT_WR)
	}()
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(os.Stdout, outside)
		// Whoever still types types to nobody.
		unix.Shutdown(pair[1], unix.SHUT_RDWR)
	}()
	return pair[0], done, nil
}

// environ returns the first of the variables that is set, else otherwise.
func environ(otherwise string, names ...string) string {
	for _, name := range names {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return otherwise
}

// address puts together what the server that started this program says of an
// end of the connection. Names are pairs, of the host's and the port's variable.
func address(names ...string) string {
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

// values are a report's, as they follow in a line.
func values(pairs []ipc.Pair) string {
	var b strings.Builder
	for _, p := range pairs {
		fmt.Fprintf(&b, ", %s=%q", p.Key, p.Value)
	}
	return b.String()
}
