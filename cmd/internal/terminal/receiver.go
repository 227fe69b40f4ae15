package terminal

import (
	"bytes"
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

// A Session is a connection with its display settings. The zero values are right for a
// connection without names.
type Session struct {
	Conn net.Conn // Run owns it

	QuitWord bool   // a line q or Q ends the input
	Raw      bool   // print the peer's bytes unchanged, even on a terminal
	Chat     bool   // put names before the lines
	Name     string // the user's own name in a chat, which is sent to the peer; or ""
	Hello    string // a first notice, for a terminal
	Goodbye  string // a notice when the peer closes: always in a chat, otherwise on a terminal only

	// HalfClosedTimeout is the maximum pause of input that is neither a file nor a
	// terminal, after the peer has ended its side. A longer pause ends the session with
	// an error. 0 means no limit: the input is sent to its end.
	HalfClosedTimeout time.Duration
}

// A SignalError says that a signal ended the session. The caller should call
// ExitBySignal, so that the shell sees which signal ended the program.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by " + unix.SignalName(e.Signal) }

// These are the standard descriptors of every program.
const (
	stdin  = 0
	stdout = 1
)

// A receiver is the process that receives and prints. One goroutine, in run, owns all
// its fields. Each other goroutine reads from one source and sends the results to run.
type receiver struct {
	Session
	sender *senderProcess
	tty    *ttyState // not nil: lines are edited, and this state must be restored
	screen *screen   // not nil: stdout is a terminal and needs safe text

	chunks  chan chunk
	signals chan os.Signal
	intro   introParser

	ready        bool // the sender's signal handlers are installed
	peerClosed   bool
	senderReaped bool
	inputEnded   bool  // the sender has reached the end of its input
	failure      error // the reason for exit code 1
}

// A chunk is the result of one read from the connection. Its bytes are overwritten
// after the next chunk was taken.
type chunk struct {
	data []byte
	err  error
}

// Run shares the connection with a second process. It returns when the peer has closed
// and, unless stdin is a terminal, the input has ended. A nil error means a normal end.
// Run restores the terminal, reaps the second process and closes the connection.
func (s Session) Run() error {
	defer s.Conn.Close()
	r := &receiver{Session: s, chunks: make(chan chunk), signals: make(chan os.Signal)}
	if err := r.prepare(); err != nil {
		return err
	}
	r.catchSignals()
	go r.read()
	err := r.run()
	r.restoreTerminal()
	if r.screen != nil {
		r.screen.close()
	}
	return err
}

// prepare examines stdin and stdout and starts the sender.
func (r *receiver) prepare() error {
	settings := senderSettings{QuitWord: r.QuitWord, HalfClosedTimeout: r.HalfClosedTimeout}
	onTerminal := isTerminal(os.Stdout) && !r.Raw
	if onTerminal && sameTerminal(os.Stdin, os.Stdout) {
		// A background process must not use the terminal's state.
		if inBackground(stdin) {
			stopProcess()
		}
		state, err := readTTYState(stdin)
		if err != nil {
			return fmt.Errorf("read the terminal's state: %w", err)
		}
		settings.TTY = state
	}
	if r.Name != "" && isTerminal(os.Stdin) {
		settings.Introduction = []byte(Introduction(r.Name))
	}
	if onTerminal {
		r.screen = &screen{
			style: r.style(), out: fdWriter(stdout), notices: os.Stderr,
			size: func() (int, int) { return windowSize(stdout) },
		}
	}
	r.intro.done = !r.Chat || r.screen == nil
	if r.Hello != "" && (r.Chat || settings.TTY != nil) {
		fmt.Fprintln(os.Stderr, r.Hello)
	}
	sender, err := startSender(r.Conn, settings)
	if err != nil {
		return err
	}
	r.sender, r.tty = sender, settings.TTY
	if r.tty == nil {
		releaseStdin()
	}
	return nil
}

// releaseStdin closes input that belongs to the sender. A program that writes to the
// pipe can then notice when the sender has read enough.
func releaseStdin() {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // the program works without it
	}
	unix.Dup3(null, stdin, 0)
	unix.Close(null)
}

func (r *receiver) style() style {
	if !r.Chat {
		return newStyle("> ", "", os.Getenv)
	}
	own := "you"
	if r.Name != "" {
		own = r.Name
	}
	return newStyle(own+"> ", "peer> ", os.Getenv)
}

// read reads the connection to its end, into two buffers in turn. One buffer is printed
// while the other is filled.
func (r *receiver) read() {
	var buffers [2][]byte
	for i := 0; ; i = 1 - i {
		if buffers[i] == nil {
			buffers[i] = make([]byte, bufferSize)
		}
		n, err := r.Conn.Read(buffers[i])
		if n > 0 {
			r.chunks <- chunk{data: buffers[i][:n]}
		}
		if err != nil {
			r.chunks <- chunk{err: err}
			return
		}
	}
}

// run is the loop that owns the receiver. It returns when the peer has closed and the
// sender is reaped, or when one of them has failed.
func (r *receiver) run() error {
	for {
		if r.peerClosed && r.senderReaped {
			return r.failure
		}
		var err error
		select {
		case c := <-r.chunks:
			if c.err != nil {
				err = r.peerEnded(c.err)
			} else {
				err = r.printPeerData(c.data)
			}
		case report, alive := <-r.reports():
			if !alive {
				err = r.senderEnded()
			} else {
				err = r.handleReport(report)
			}
		case s := <-r.signals:
			err = r.handleSignal(s)
		}
		if err != nil {
			if !r.senderReaped {
				r.sender.kill()
			}
			return err
		}
	}
}

// reports returns the sender's channel, and nil when the sender is reaped.
func (r *receiver) reports() <-chan report {
	if r.senderReaped {
		return nil
	}
	return r.sender.reports
}

func (r *receiver) handleReport(report report) error {
	switch report.Kind {
	case reportReady:
		r.ready = true
		if r.peerClosed {
			r.sender.signalPeerClosed()
		}
		if r.tty == nil || r.peerClosed {
			return nil
		}
		// From here on the other process can restore the terminal if one of the two is
		// killed.
		r.screen.typing = true
		if err := r.resume(); err != nil {
			return err
		}
		r.sender.pipe.Encode(confirmation{})
		return nil
	case reportTyping:
		if r.peerClosed {
			return nil
		}
		return r.screen.edit(report.Text)
	case reportSending:
		if r.peerClosed {
			// The sender gets no confirmation and ends soon.
			printUnsent(string(Sanitize(bytes.TrimSpace(report.Text))))
			return nil
		}
		if err := r.screen.commitInput(report.Text); err != nil {
			return err
		}
		// If this fails, the sender has ended, and its channel says so too.
		r.sender.pipe.Encode(confirmation{})
	case reportEnded:
		r.inputEnded = true
	case reportFailed:
		// The peer's earlier text must still be printed.
		r.inputEnded = true
		r.failure = errors.New(string(report.Text))
	}
	return nil
}

// senderEnded handles the end of the sender, which has been reaped.
func (r *receiver) senderEnded() error {
	r.senderReaped = true
	if err := r.leaveTerminal(); err != nil {
		return err
	}
	if r.inputEnded || r.peerClosed && r.sender.cmd.ProcessState.Success() {
		return nil
	}
	by, err := r.sender.exitReason()
	switch by {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP:
		// The terminal, or another program, sent the signal to both processes.
		return &SignalError{by}
	}
	return err
}

// peerEnded handles the end of the connection.
func (r *receiver) peerEnded(err error) error {
	r.peerClosed = true
	r.chunks = nil
	if err := r.printPeerData(r.intro.flush()); err != nil {
		return err
	}
	if errors.Is(err, unix.ECONNRESET) {
		return errReset
	}
	if err != io.EOF {
		return fmt.Errorf("receive: %w", ShortError(err))
	}
	if r.screen != nil {
		unsent := r.screen.line
		if err := r.screen.close(); err != nil {
			return err
		}
		printUnsent(unsent)
	}
	if r.Goodbye != "" && (r.Chat || r.screen != nil) {
		fmt.Fprintln(os.Stderr, r.Goodbye)
	}
	// A signal to a sender that is not ready could end it before it reads its input.
	// Between the start of Go's runtime and main it would have no effect. But one that
	// was stopped so early has to go on, or it would never be ready.
	switch {
	case r.senderReaped:
	case r.ready:
		r.sender.signalPeerClosed()
	default:
		r.sender.cmd.Process.Signal(unix.SIGCONT)
	}
	return nil
}

// printUnsent prints typed text that was not sent, so that it is not lost silently.
func printUnsent(line string) {
	if line != "" {
		fmt.Fprintf(os.Stderr, "not sent: %s\n", line)
	}
}

// printPeerData prints bytes of the peer.
func (r *receiver) printPeerData(data []byte) error {
	if r.screen == nil {
		_, err := fdWriter(stdout).Write(data)
		return err
	}
	data, name := r.intro.take(data)
	if name != "" && peerNameAllowed(name, r.Name) {
		r.screen.peer = name + "> "
		if err := r.screen.notice("the peer is " + name); err != nil {
			return err
		}
	}
	return r.screen.showPeerText(data)
}

// leaveTerminal restores the terminal while the peer still sends.
func (r *receiver) leaveTerminal() error {
	r.restoreTerminal()
	if r.screen == nil || !r.screen.typing {
		return nil
	}
	err := r.screen.suspend()
	r.screen.typing = false
	return err
}

func (r *receiver) restoreTerminal() {
	if r.tty != nil {
		signal.Ignore(unix.SIGTTOU) // restore the terminal even from the background
		r.tty.restore(stdin)
	}
}

// An fdWriter writes with write(2). The descriptor may block. Another program that
// shares it may have made it non-blocking.
type fdWriter int

func (d fdWriter) Write(p []byte) (int, error) {
	fd, all := int(d), len(p)
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		switch {
		case err == unix.EAGAIN:
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		case err == unix.EPIPE:
			return 0, &SignalError{unix.SIGPIPE}
		case err != nil && err != unix.EINTR:
			return 0, fmt.Errorf("write output: %w", err)
		}
		p = p[max(n, 0):]
	}
	return all, nil
}
