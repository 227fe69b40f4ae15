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

// A Session is a connection and how it is to be shown. The zero values are
// those of a connection without names.
type Session struct {
	Conn net.Conn // owned by Run

	QuitWord bool   // a line q or Q ends the input
	Raw      bool   // print the peer's bytes as they are, even on a terminal
	Chat     bool   // name the lines
	Name     string // in a chat: one's own name, to be told to the peer; or ""
	Hello    string // a notice for a terminal, before anything else
	Goodbye  string // a notice for when the peer closes: always in a chat, else on a terminal

	// HalfClosedTimeout is how long input that is neither a file nor a terminal
	// may pause once the peer has ended its side. A longer pause ends the session
	// with an error. 0 is without limit: the input is sent to its end.
	HalfClosedTimeout time.Duration
}

// A SignalError says that a signal ended the session. Whoever gets it should
// call Die, so that a shell sees what ended the program.
type SignalError struct{ Signal syscall.Signal }

func (e *SignalError) Error() string { return "ended by " + unix.SignalName(e.Signal) }

// The descriptors every program has.
const (
	stdin  = 0
	stdout = 1
)

// A receiver is the process that receives and prints. One goroutine, in run,
// owns all of it; the others read one source each and send what they got.
type receiver struct {
	Session
	sender *senderProcess
	tty    *ttyState // not nil: lines are edited, and this is to be given back
	screen *screen   // not nil: stdout is a terminal, to be protected

	chunks  chan chunk
	signals chan os.Signal
	intro   introducer

	ready      bool // the sender can be signalled
	peerGone   bool
	senderGone bool
	ended      bool  // the sender reached the end of its input
	failure    error // what the exit code is 1 for
}

// A chunk is what one read from the connection gave. Its bytes are overwritten
// after the next chunk was taken.
type chunk struct {
	data []byte
	err  error
}

// Run shares the connection with a second process and goes on until the peer
// closes and, unless stdin is a terminal, the input ends. A nil error is an orderly end. The terminal is left as it was found,
// the second process is reaped and the connection closed.
func (s Session) Run() error {
	defer s.Conn.Close()
	r := &receiver{Session: s, chunks: make(chan chunk), signals: make(chan os.Signal)}
	if err := r.prepare(); err != nil {
		return err
	}
	r.catch()
	go r.read()
	err := r.run()
	r.restoreTerminal()
	if r.screen != nil {
		r.screen.close()
	}
	return err
}

// prepare finds out what stdin and stdout are, and starts the sender.
func (r *receiver) prepare() error {
	with := settings{QuitWord: r.QuitWord, HalfClosedTimeout: r.HalfClosedTimeout}
	onTerminal := isTerminal(os.Stdout) && !r.Raw
	if onTerminal && sameTerminal(os.Stdin, os.Stdout) {
		// What state a terminal is in is nobody's business in the background.
		if inBackground(stdin) {
			stopHere()
		}
		state, err := readTTYState(stdin)
		if err != nil {
			return fmt.Errorf("read the terminal's state: %w", err)
		}
		with.TTY = state
	}
	if r.Name != "" && isTerminal(os.Stdin) {
		with.Introduction = []byte(Introduction(r.Name))
	}
	if onTerminal {
		r.screen = &screen{
			style: r.style(), out: descriptor(stdout), notices: os.Stderr,
			size: func() (int, int) { return windowSize(stdout) },
		}
	}
	r.intro.done = !r.Chat || r.screen == nil
	if r.Hello != "" && (r.Chat || with.TTY != nil) {
		fmt.Fprintln(os.Stderr, r.Hello)
	}
	sender, err := startSender(r.Conn, with)
	if err != nil {
		return err
	}
	r.sender, r.tty = sender, with.TTY
	if r.tty == nil {
		dropStdin()
	}
	return nil
}

// dropStdin lets go of input that is the sender's: whoever writes to a pipe is
// to notice when the sender has read enough.
func dropStdin() {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // it only is a courtesy
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

// read reads the connection to its end, into two buffers in turn: one is
// printed while the other is filled.
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

// run is the loop that owns the receiver. It returns when the peer has closed
// and the sender is reaped, or when either has failed.
func (r *receiver) run() error {
	for {
		if r.peerGone && r.senderGone {
			return r.failure
		}
		var err error
		select {
		case c := <-r.chunks:
			if c.err != nil {
				err = r.peerEnded(c.err)
			} else {
				err = r.show(c.data)
			}
		case report, alive := <-r.reports():
			if !alive {
				err = r.senderEnded()
			} else {
				err = r.handle(report)
			}
		case s := <-r.signals:
			err = r.signal(s)
		}
		if err != nil {
			if !r.senderGone {
				r.sender.kill()
			}
			return err
		}
	}
}

// reports is the sender's channel until it is gone.
func (r *receiver) reports() <-chan report {
	if r.senderGone {
		return nil
	}
	return r.sender.reports
}

func (r *receiver) handle(report report) error {
	switch report.Kind {
	case reportReady:
		r.ready = true
		if r.peerGone {
			r.sender.release()
		}
		if r.tty == nil || r.peerGone {
			return nil
		}
		// From here the terminal has somebody to put it in order whichever of
		// the two processes is killed.
		r.screen.typing = true
		if err := r.resume(); err != nil {
			return err
		}
		r.sender.lifeline.Encode(shown{})
		return nil
	case reportTyping:
		if r.peerGone {
			return nil
		}
		return r.screen.edit(report.Text)
	case reportSending:
		if r.peerGone {
			// It is not told to go on, and about to end.
			notSent(string(Safe(bytes.TrimSpace(report.Text))))
			return nil
		}
		if err := r.screen.sent(report.Text); err != nil {
			return err
		}
		// A sender that cannot be told is gone, which its channel says too.
		r.sender.lifeline.Encode(shown{})
	case reportEnded:
		r.ended = true
	case reportFailed:
		// What the peer said before is still to be shown.
		r.ended = true
		r.failure = errors.New(string(report.Text))
	}
	return nil
}

// senderEnded is for a sender that has been reaped.
func (r *receiver) senderEnded() error {
	r.senderGone = true
	if err := r.leaveTerminal(); err != nil {
		return err
	}
	if r.ended || r.peerGone && r.sender.cmd.ProcessState.Success() {
		return nil
	}
	by, err := r.sender.death()
	switch by {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP:
		// The terminal, or whoever else, meant both.
		return &SignalError{by}
	}
	return err
}

// peerEnded is for a connection with nothing more to read.
func (r *receiver) peerEnded(err error) error {
	r.peerGone = true
	r.chunks = nil
	if err := r.show(r.intro.flush()); err != nil {
		return err
	}
	if errors.Is(err, unix.ECONNRESET) {
		return errReset
	}
	if err != io.EOF {
		return fmt.Errorf("receive: %w", Plain(err))
	}
	if r.screen != nil {
		unsent := r.screen.line
		if err := r.screen.close(); err != nil {
			return err
		}
		notSent(unsent)
	}
	if r.Goodbye != "" && (r.Chat || r.screen != nil) {
		fmt.Fprintln(os.Stderr, r.Goodbye)
	}
	// Before it is ready the signal would end it without a look at its input,
	// or, between the start of Go's runtime and that of main, do nothing.
	if r.ready && !r.senderGone {
		r.sender.release()
	}
	return nil
}

// notSent keeps typed text from getting lost without a word.
func notSent(line string) {
	if line != "" {
		fmt.Fprintf(os.Stderr, "not sent: %s\n", line)
	}
}

// show prints what the peer sent.
func (r *receiver) show(data []byte) error {
	if r.screen == nil {
		_, err := descriptor(stdout).Write(data)
		return err
	}
	data, name := r.intro.take(data)
	if name != "" && usable(name, r.Name) {
		r.screen.peer = name + "> "
		if err := r.screen.notice("the peer is " + name); err != nil {
			return err
		}
	}
	return r.screen.receive(data)
}

// leaveTerminal gives the terminal back while the peer still talks.
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
		signal.Ignore(unix.SIGTTOU) // even from the background
		r.tty.restore(stdin)
	}
}

// A descriptor is written to with write(2). It may block, or may have been made
// non-blocking by another program that shares it.
type descriptor int

func (d descriptor) Write(p []byte) (int, error) {
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
