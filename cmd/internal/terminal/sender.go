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

// bufferSize is the size of a read. It is large enough that system calls are cheap
// beside the copying, and small enough for the memory not to matter.
const bufferSize = 256 << 10

// ErrNotStarted is the error of RunSender in a process that no receiver started.
var ErrNotStarted = errors.New("sender is started by connect and chat only")

// A stream is a connection with two directions that end separately.
type stream interface {
	net.Conn
	CloseWrite() error
}

// A sender is the process that reads the keyboard, or any other stdin, and sends. It
// prints nothing, except for a crash.
type sender struct {
	senderSettings
	conn      stream
	receiver  *statusPipe
	stdin     int
	ended     int               // an eventfd, readable after the peer has ended its side
	confirmed chan confirmation // confirmations of the receiver
	quit      QuitScanner
	out       []byte // reused buffer for the bytes to send
}

// RunSender is the complete main function of the second process. It returns the exit
// code when the receiver already knows the reason. It returns an error when there is no
// receiver.
func RunSender() (code int, err error) {
	socket, err := inheritedConn(fdSocket)
	if err != nil {
		return 0, ErrNotStarted
	}
	conn, ok := socket.(stream)
	pair, err := inheritedConn(fdStatusPipe)
	if err != nil || !ok {
		return 0, ErrNotStarted
	}
	s := &sender{conn: conn, receiver: newStatusPipe(pair), confirmed: make(chan confirmation, 1)}
	if err := s.receiver.Decode(&s.senderSettings); err != nil {
		return 0, ErrNotStarted
	}
	if s.ended, err = unix.Eventfd(0, unix.EFD_CLOEXEC); err != nil {
		return 0, fmt.Errorf("create eventfd: %w", err)
	}
	s.watchReceiver()
	if s.receiver.Encode(report{Kind: reportReady}) != nil {
		return 1, nil
	}
	if err := s.send(); err != nil {
		// The peer must see an end in any case.
		s.conn.CloseWrite()
		s.receiver.Encode(report{Kind: reportFailed, Text: []byte(err.Error())})
		return 1, nil
	}
	return 0, nil
}

// inheritedConn makes a connection from an inherited descriptor.
func inheritedConn(fd int) (net.Conn, error) {
	unix.CloseOnExec(fd)
	f := os.NewFile(uintptr(fd), "inherited")
	if f == nil {
		return nil, os.ErrInvalid
	}
	defer f.Close() // FileConn duplicates the descriptor
	return net.FileConn(f)
}

// watchReceiver starts the goroutines that watch the receiver while stdin or the socket
// blocks.
//
// SIGINT and similar signals may end the process. The terminal also sends them to the
// receiver, which restores the terminal. SIGQUIT would make Go's runtime print its
// stacks, so only the receiver handles it.
func (s *sender) watchReceiver() {
	signal.Ignore(unix.SIGQUIT, unix.SIGPIPE)
	peerClosed := make(chan os.Signal, 1)
	signal.Notify(peerClosed, unix.SIGUSR1)
	atTerminal := isTerminal(os.Stdin)
	go func() {
		<-peerClosed
		if atTerminal {
			os.Exit(0) // even if the other goroutines are blocked
		}
		unix.Write(s.ended, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}()
	go func() {
		for {
			var m confirmation
			if s.receiver.Decode(&m) != nil {
				s.exitWithoutReceiver()
			}
			s.confirmed <- m
		}
	}()
}

// exitWithoutReceiver ends a sender whose receiver has died. The receiver was probably
// killed, so this process restores the terminal. It may have to do so from the
// background, because the shell took the terminal back.
func (s *sender) exitWithoutReceiver() {
	if s.TTY != nil {
		signal.Ignore(unix.SIGTTOU)
		s.TTY.restore(s.stdin)
	}
	os.Exit(1)
}

// send sends stdin to its end and then half-closes the connection.
func (s *sender) send() error {
	if err := s.write(s.Introduction); err != nil {
		return err
	}
	var err error
	switch {
	case s.TTY != nil:
		err = s.sendKeyboard()
	case !s.QuitWord && isRegular(os.Stdin):
		err = s.sendFile()
	default:
		err = s.sendStream()
	}
	if err != nil {
		return err
	}
	// ENOTCONN means that the peer had closed, and reset the connection when more bytes
	// came.
	err = s.conn.CloseWrite()
	if errors.Is(err, unix.ENOTCONN) {
		return errNotTaken
	}
	if err != nil {
		return fmt.Errorf("half-close: %w", ShortError(err))
	}
	if s.peerEnded() {
		if err := s.awaitAck(); err != nil {
			return err
		}
	}
	return s.receiver.Encode(report{Kind: reportEnded})
}

// sendFile lets the kernel copy a file (sendfile). A file never pauses, so it is sent
// to its end even when the peer has ended its side.
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
		if quit, err := s.sendUntilQuitWord(buffer[:n]); quit || err != nil {
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
const ackTimeout = 10 * time.Second

// awaitAcknowledgement waits until the kernel of a TCP peer has everything. A
// peer that has closed answers more input with a reset, one round trip later.
// What a silent peer does not acknowledge in time is left to the kernel, as it
// is with any program that exits.
func (s *sender) awaitAck() error {
	if _, ok := s.conn.(*net.TCPConn); !ok {
		return nil // what is written is there at once
	}
	socket, err := s.socket()
	if err != nil {
		return err
	}
	for end := time.Now().Add(ackTimeout); time.Now().Before(end); time.Sleep(time.Millisecond) {
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

// sendUntilQuitWord sends p up to the quit word.
func (s *sender) sendUntilQuitWord(p []byte) (quit bool, err error) {
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

// sendKeyboard reads the keyboard. It edits lines, has the receiver show them, and
// sends them.
func (s *sender) sendKeyboard() error {
	e := editor{keys: s.TTY.Original.Cc}
	buffer := make([]byte, 4096) // the maximum that a terminal holds
	<-s.confirmed                // wait until the terminal is prepared
	for ahead := true; ; ahead = false {
		n, err := read(s.stdin, buffer)
		if err != nil {
			return err
		}
		if n == 0 { // the terminal is in its original modes again and has ended
			return s.write(s.quit.Flush(nil))
		}
		for _, c := range buffer[:n] {
			if ahead && c == 0 {
				// The user typed the end of input before the terminal was prepared.
				c = s.TTY.Original.Cc[unix.VEOF]
			}
			switch e.handleByte(c) {
			case actionSendLine, actionSendPart:
				quit, err := s.sendLine(e.takeLine())
				if quit || err != nil {
					return err
				}
			case actionEOF:
				return s.write(s.quit.Flush(nil))
			}
		}
		if s.receiver.Encode(report{Kind: reportTyping, Text: e.line}) != nil {
			s.exitWithoutReceiver()
		}
	}
}

func (s *sender) sendLine(line []byte) (quit bool, err error) {
	if s.receiver.Encode(report{Kind: reportSending, Text: line}) != nil {
		s.exitWithoutReceiver()
	}
	<-s.confirmed
	return s.sendUntilQuitWord(line)
}

// read is read(2) on a descriptor that may block. Another program that shares it may
// have made it non-blocking.
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
	return fmt.Errorf("send: %w", ShortError(err))
}

var errReset = errors.New("connection reset by the peer")
