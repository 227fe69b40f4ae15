// Package terminal is the client of preforkd connect and preforkd chat. Two processes
// share a connection. One receives and prints; the other reads the keyboard and sends.
//
//	           receiver (preforkd connect, preforkd chat)
//	socket ──► read ──► stdout, and the screen
//	   ▲          │  ▲
//	   │  SIGUSR1 ▼  │ status pipe: typed text, sent text, how the sender ended
//	   └─────── write ◄── stdin
//	           sender (preforkd sender, started by the receiver)
//
// The receiver is the parent process, for which the shell waits. The exit code is
// therefore that of the connection. The terminal is in its original state before the
// shell prompts again. The sender is the same program, started again. It inherits the
// socket and one end of a socket pair, the status pipe.
//
// # How the processes end
//
// When the receiver reads end of file from the peer, it sends SIGUSR1 to the sender. A
// sender that reads from a terminal then exits at once. A sender with other input sends
// that input to its end, because the peer may only have half-closed.
//
// When the input ends, the sender half-closes the connection, says so on the status
// pipe and exits. The receiver reaps the sender and continues. A sender that dies in
// any other way, also by kill -9, closes the status pipe without that message. Then the
// receiver stops. When the receiver dies, the status pipe ends too, and the sender
// stops. PR_SET_PDEATHSIG would not work: it fires when the thread that started the
// process ends, and Go ends threads at any time.
//
// # The line being typed
//
// While stdin and stdout are the same terminal, this package does the line editing and
// the echo itself. The terminal's own are off (ICANON and ECHO). The kernel still
// handles signals.
//
// With the kernel's line editing, incoming text would break the line being typed. No
// program can ask the kernel for the unfinished line. Reprinting with VREPRINT needs
// TIOCSTI, which recent kernels refuse. The kernel also silently cuts lines at 4095
// bytes.
//
// The changed state of the terminal must be restored by the process that is left. The
// receiver restores it on every exit and on suspension. The sender restores it when the
// receiver was killed. Both change the terminal only while it is still in the state
// that the receiver set. A faster shell is therefore not disturbed. The receiver
// changes the terminal only after the sender is ready to restore it.
//
// The sender edits and the receiver draws, so the screen has one writer. The sender
// sends a line only after the receiver has confirmed that the line is on the screen.
// Otherwise a fast answer could appear above its question.
//
// This package never sets O_NONBLOCK on an inherited descriptor. That flag belongs to
// the open terminal, and so to every program that uses it.
package terminal
