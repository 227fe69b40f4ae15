package terminal

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bufferSize is the size of a read: large enough that system calls cost little
// beside the copying, small enough that nobody notices the memory.
const bufferSize = 256 << 10

// ErrNotStarted is returned by RunSender in a process that no receiver started.
var ErrNotStarted = errors.New("sender is started by connect and chat only")

// A stream is a connection with two directions that end one by one.
type stream interface {
	net.Conn
	CloseWrite() error
}

// A sender is the process that reads the keyboard, or whatever else is stdin,
// and sends. It prints nothing but a crash.
type sender struct {
	settings
	conn     stream
	receiver *lifeline
	stdin    int
	ended    int        // an eventfd: readable once the peer has ended its side
	shown    chan shown // the receiver's confirmations
	quit     QuitScanner
	out      []byte // reused for what is sent
}

// RunSender is the whole life of the second process. It returns the exit code
// of a process whose receiver has been told the reason already, or an error
// for one that has none.
func RunSender() (code int, err error) {
	socket, err := inherited(fdSocket)
	if err != nil {
		return 0, ErrNotStarted
	}
	conn, ok := socket.(stream)
	pair, err := inherited(fdLifeline)
	if err != nil || !ok {
		return 0, ErrNotStarted
	}
	s := &sender{conn: conn, receiver: newLifeline(pair), shown: make(chan shown, 1)}
	if err := s.receiver.Decode(&s.settings); err != nil {
		return 0, ErrNotStarted
	}
	if s.ended, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return 0, fmt.Errorf("create eventfd: %w", err)
	}
	s.attend()
	if s.receiver.Encode(report{Kind: reportReady}) != nil {
		return 1, nil
	}
	if err := s.send(); err != nil {
		// The peer is to see an end whatever the reason is.
		s.conn.CloseWrite()
		s.receiver.Encode(report{Kind: reportFailed, Text: []byte(err.Error())})
		return 1, nil
	}
	return 0, nil
}

// inherited makes a connection of an inherited descriptor.
func inherited(fd int) (net.Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "inherited")
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close() // FileConn makes a copy
	return net.FileConn(f)
}

// attend starts what watches the receiver while stdin or the socket blocks.
//
// SIGINT and its like are left to end the process: the terminal sends them to
// the receiver as well, which puts the terminal in order. Ctrl-\ would make Go
// print its stacks, so the receiver alone deals with it.
func (s *sender) attend() {
	signal.Ignore(unix.SIGQUIT, unix.SIGPIPE)
	over := make(chan os.Signal, 1)
	signal.Notify(over, unix.SIGUSR1)
	atTerminal := isTerminal(os.Stdin)
	go func() {
		<-over
		if atTerminal {
			os.Exit(0) // wherever the others are blocked
		}
		unix.Write(s.ended, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}()
	go func() {
		for {
			var m shown
			if s.receiver.Decode(&m) != nil {
				s.abandon()
			}
			s.shown <- m
		}
	}()
}

// abandon ends a sender whose receiver is gone: killed, most likely, so that
// the terminal is for this process to put in order. It may have to do so from
// the background, because the shell took the terminal back.
func (s *sender) abandon() {
	if s.TTY != nil {
		signal.Ignore(unix.SIGTTOU)
		s.TTY.restore(s.stdin)
	}
	os.Exit(1)
}

// send copies stdin to the connection until its end, and half-closes.
func (s *sender) send() error {
	if err := s.write(s.Introduction); err != nil {
		return err
	}
	var err error
	switch {
	case s.TTY != nil:
		err = s.sendTyped()
	case !s.QuitWord && isRegular(os.Stdin):
		err = s.sendFile()
	default:
		err = s.sendStream()
	}
	if err != nil {
		return err
	}
	// ENOTCONN: the peer had closed, and has reset the connection when more came.
	err = s.conn.CloseWrite()
	if errors.Is(err, unix.ENOTCONN) {
		return errNotTaken
	}
	if err != nil {
		return fmt.Errorf("half-close: %w", Plain(err))
	}
	if s.peerEnded() {
		if err := s.awaitAcknowledgement(); err != nil {
			return err
		}
	}
	return s.receiver.Encode(report{Kind: reportEnded})
}

// sendFile lets the kernel copy a file (sendfile). Nobody waits for its input,
// so it is sent to its end even when the peer has nothing more to say.
func (s *sender) sendFile() error {
	_, err := io.Copy(s.conn, os.Stdin)
	return sendError(err)
}

// peerEnded reports whether the peer has ended its side.
func (s *sender) peerEnded() bool {
	poll := []unix.PollFd{{Fd: int32(s.ended), Events: unix.POLLIN}}
	n, _ := unix.Poll(poll, 0)
	return n > 0
}

// sendStream copies anything else: a pipe, or a terminal in its own mode.
//
// A peer that has ended its side may still read: a half-closed connection looks
// the same as one that the peer has closed. So the input is sent to its end.
// Two things end it earlier: the connection breaks, or the user gave a limit
// (HalfClosedTimeout) and the input pauses for longer.
func (s *sender) sendStream() error {
	buffer := make([]byte, bufferSize)
	input := unix.PollFd{Fd: int32(s.stdin), Events: unix.POLLIN}
	poll := []unix.PollFd{input, {Fd: int32(s.ended), Events: unix.POLLIN}}
	timeout := -1
	for {
		n, err := unix.Poll(poll, timeout)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return fmt.Errorf("wait for input: %w", err)
		case n == 0:
			return fmt.Errorf("input not sent to its end: the peer had ended its side, and no input came for %v", s.HalfClosedTimeout)
		case poll[0].Revents != 0:
		case poll[1].Fd == int32(s.ended):
			socket, err := s.socket()
			if err != nil {
				return err
			}
			// Without events to wait for, poll reports what is wrong.
			poll[1] = unix.PollFd{Fd: int32(socket)}
			if s.HalfClosedTimeout > 0 {
				timeout = int(max(1, s.HalfClosedTimeout.Milliseconds()))
			}
			continue
		default:
			return errNotTaken
		}
		n, err = read(s.stdin, buffer)
		if err != nil {
			return err
		}
		if n == 0 {
			return s.write(s.quit.Flush(nil))
		}
		if quit, err := s.scan(buffer[:n]); quit || err != nil {
			return err
		}
	}
}

// socket returns the number of the connection's descriptor, which stays open as
// long as the process runs.
func (s *sender) socket() (int, error) {
	raw, err := s.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("use the connection: %w", err)
	}
	fd := -1
	if err := raw.Control(func(number uintptr) { fd = int(number) }); err != nil {
		return 0, fmt.Errorf("use the connection: %w", err)
	}
	return fd, nil
}

// acknowledgedWithin bounds the wait for a peer that says nothing any more.
const acknowledgedWithin = 10 * time.Second

// awaitAcknowledgement waits until the kernel of a TCP peer has everything. A
// peer that has closed answers more input with a reset, one round trip later.
// What a silent peer does not acknowledge in time is left to the kernel, as it
// is with any program that exits.
func (s *sender) awaitAcknowledgement() error {
	if _, ok := s.conn.(*net.TCPConn); !ok {
		return nil // what is written is there at once
	}
	socket, err := s.socket()
	if err != nil {
		return err
	}
	for end := time.Now().Add(acknowledgedWithin); time.Now().Before(end); time.Sleep(time.Millisecond) {
		// A reset empties the queue, so the error is looked at after the queue.
		n, err := unix.IoctlGetInt(socket, unix.SIOCOUTQ)
		if number, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_ERROR); err == nil && number != 0 {
			return errNotTaken
		}
		if err != nil || n == 0 {
			return nil
		}
	}
	return nil
}

// scan sends p up to the quit word.
func (s *sender) scan(p []byte) (quit bool, err error) {
	if s.QuitWord {
		s.out, quit = s.quit.Scan(s.out[:0], p)
		p = s.out
	}
	return quit, s.write(p)
}

func (s *sender) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	_, err := s.conn.Write(p)
	return sendError(err)
}

// sendTyped is the keyboard: it edits lines, has them shown and sends them.
func (s *sender) sendTyped() error {
	e := editor{keys: s.TTY.Found.Cc}
	buffer := make([]byte, 4096) // all that a terminal holds
	<-s.shown                    // the terminal is prepared
	for ahead := true; ; ahead = false {
		n, err := read(s.stdin, buffer)
		if err != nil {
			return err
		}
		if n == 0 { // the terminal is in its own mode again, and has ended
			return s.write(s.quit.Flush(nil))
		}
		for _, c := range buffer[:n] {
			if ahead && c == 0 {
				// An end of input typed before the terminal was prepared.
				c = s.TTY.Found.Cc[unix.VEOF]
			}
			switch e.key(c) {
			case entered, pushed:
				quit, err := s.sendLine(e.take())
				if quit || err != nil {
					return err
				}
			case endOfInput:
				return s.write(s.quit.Flush(nil))
			}
		}
		if s.receiver.Encode(report{Kind: reportTyping, Text: e.line}) != nil {
			s.abandon()
		}
	}
}

func (s *sender) sendLine(line []byte) (quit bool, err error) {
	if s.receiver.Encode(report{Kind: reportSending, Text: line}) != nil {
		s.abandon()
	}
	<-s.shown
	return s.scan(line)
}

// read is read(2) on a descriptor that may block, and that may have been made
// non-blocking by another program that shares it.
func read(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		default:
			return 0, fmt.Errorf("read input: %w", err)
		}
	}
}

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// errNotTaken is for a peer that closed while there was more to send.
var errNotTaken = errors.New("connection closed by the peer before all input was sent")

// sendError says in plain words why sending failed.
func sendError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPIPE):
		return errNotTaken
	case errors.Is(err, unix.ECONNRESET):
		return errReset
	}
	return fmt.Errorf("send: %w", Plain(err))
}

var errReset = errors.New("connection reset by the peer")
