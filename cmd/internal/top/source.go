package top

import (
	"context"
	"time"

	"github.com/preforkd/preforkd/master/control"
)

// A Source is the master that top shows. Several goroutines call its methods. The
// methods return when their context ends.
type Source interface {
	// Status fetches a status. It connects again when that is necessary.
	Status(context.Context) (control.Status, error)
	// Kill sends a signal, TERM or KILL, to the worker of a connection and to the
	// worker's children.
	Kill(ctx context.Context, conn, signal string) error
}

// Interval is the default time between a status and the next request.
const Interval = time.Second

// requestTimeout is the maximum time of a status request or a kill.
const requestTimeout = 5 * time.Second
