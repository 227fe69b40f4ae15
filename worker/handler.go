package worker

import (
	"fmt"
	"sort"
	"strings"
)

// A Handler serves one connection. It may read and write as it likes and
// returns when it has nothing more to say; it does not close the connection,
// which stays the package's.
//
// What it returns decides how the worker ends. Nil is an end in order:
// ipc.ExitOK, with the reason given by Conn.SetReason, else ipc.ReasonEOF when
// the client's end was read, else ipc.ReasonDrain when the handler's context
// had ended, else ipc.ReasonDone. An error for which
// errors.Is(err, ErrPeerGone) holds, as it does for what Conn's methods return
// when the client vanishes, is ipc.ExitReset. One for which
// errors.Is(err, context.Canceled) holds after the context has ended is an end
// in order. Any other error is the handler's own: it is written to stderr in
// one line, and the code is ipc.ExitHandler.
//
// A connection that has reached one of its limits has ended for that reason,
// ipc.ExitIdle or ipc.ExitLifetime, whatever the handler returns. A panic is
// ipc.ExitPanic, with the stack on stderr; the client still gets what was
// written for it, and a worker that panicked is given no other connection.
type Handler func(*Conn) error

// Handlers are a program's handlers by the names the master asks for.
type Handlers map[string]Handler

// names lists the handlers for an error message, always in the same order.
func (h Handlers) names() string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// choose returns the handler that the arguments name.
func (h Handlers) choose(args []string) (Handler, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("want one argument, the handler (%s), got %d", h.names(), len(args))
	}
	if handler, ok := h[args[0]]; ok {
		return handler, nil
	}
	return nil, fmt.Errorf("unknown handler %q, have %s", args[0], h.names())
}
