package worker

import (
	"fmt"
	"sort"
	"strings"

	"github.com/preforkd/preforkd/ipc"
)

// A Handler serves one connection. It reads and writes, and returns when it has
// finished. It does not close the connection, because the package owns it.
//
// The result of the handler decides how the worker ends.
//
//   - Nil is a normal end: ipc.ExitOK. The reason is the one from Conn.SetReason.
//     Without it, the reason is ipc.ReasonEOF when end of file was read. Otherwise it
//     is ipc.ReasonDrain when the handler's context had ended, else ipc.ReasonDone.
//   - An error that matches ErrPeerGone is ipc.ExitReset. Conn's methods return such an
//     error when the client has vanished.
//   - An error that matches context.Canceled is a normal end when the context has
//     ended.
//   - Any other error is the handler's own. It is written to stderr in one line, and
//     the exit code is ipc.ExitHandler.
//
// A connection that has reached one of its limits ends with ipc.ExitIdle or
// ipc.ExitLifetime, whatever the handler returns. A panic is ipc.ExitPanic, with the
// stack on stderr. The client still gets the bytes that were written for it. A worker
// that panicked gets no other connection.
type Handler func(*Conn) error

// Handlers are a program's handlers by name. The master's command line gives the name.
type Handlers map[string]Handler

// names lists the handlers for an error message, in alphabetical order.
func (h Handlers) names() string {
	names := make([]string, 0, len(h))
	for name := range h {
		names = append(names, name)
	}
	sort.Strings(names)
	return strings.Join(names, ", ")
}

// byArguments returns the handler that the arguments name. Of a box they may tell as well.
func (h Handlers) byArguments(args []string) (Handler, error) {
	if len(args) == 2 && args[1] == ipc.ArgumentBoxed {
		args = args[:1]
	}
	if len(args) != 1 {
		return nil, fmt.Errorf("want one argument, the handler (%s), got %d", h.names(), len(args))
	}
	if handler, ok := h[args[0]]; ok {
		return handler, nil
	}
	return nil, fmt.Errorf("unknown handler %q, have %s", args[0], h.names())
}
