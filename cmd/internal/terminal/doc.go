// Package terminal is the client's side: a connection shared by two processes,
// one of which receives and prints while the other reads the keyboard and
// sends.
//
//	           receiver (preforkd connect, preforkd chat)
//	socket ──► read ──► stdout, and the screen
//	   ▲          │  ▲
//	   │  SIGUSR1 ▼  │ lifeline: what is typed, what is sent, how it ended
//	   └─────── write ◄── stdin
//	           sender (preforkd sender, started by the receiver)
//
// The receiver is the parent: it is the one that the shell waits for, so the
// exit code is that of the connection, and the terminal is back in its old
// state before the shell prompts again. The sender is the same program started
// once more, with the socket and one end of a socket pair, the lifeline, as
// inherited descriptors.
//
// # Who ends whom
//
// The receiver sees end of file from the peer and sends SIGUSR1. A sender that
// waits for a terminal exits at once; one that has other input sends that to its
// end, because the peer may have half-closed only. A sender whose input ended half-closes the connection, says
// so on the lifeline, exits, and is reaped; the receiver goes on. Any other
// death of the sender, kill -9 included, is an end of the lifeline without that
// word, and the receiver stops. The death of the receiver is an end of the
// lifeline too, and the sender stops. PR_SET_PDEATHSIG would be of no use: it
// fires when the thread that started the process ends, and Go ends threads as
// it likes.
//
// # The line being typed
//
// While stdin and stdout are the same terminal, the terminal's own line editing
// and echo are off (ICANON and ECHO; signals stay the kernel's), and this
// package does both. The alternative, to leave them on, cannot keep an incoming
// line from tearing a typed one: nobody can ask the kernel what has been typed
// and not yet ended, reprinting by VREPRINT needs TIOCSTI, which kernels now
// refuse, and the line ends at 4095 bytes without a word. The price is a state
// that has to be given back, and it is, by whoever is left: the receiver on
// every way out and on suspension, the sender when the receiver was killed.
// Both change the terminal only while it still is in the state that the
// receiver set, so that a shell that was faster is not disturbed. The terminal
// is touched only after the sender is there to give it back.
//
// The sender edits and the receiver paints, so the screen has one writer. A
// line is sent when the receiver has confirmed that it is on the screen;
// otherwise a fast answer could appear above the question.
//
// This package never sets O_NONBLOCK on an inherited descriptor: that flag
// belongs to the open terminal, and so to every program on it.
package terminal
