package top

import (
	"context"
	"time"

	"github.com/preforkd/preforkd/master/control"
)

// A Source is a master that is looked at. Its methods are called from several
// goroutines, and end when their context does.
type Source interface {
	// Status takes a look. It connects anew where that is needed.
	Status(context.Context) (control.Status, error)
	// Kill sends a signal, TERM or KILL, to the worker of a connection and to
	// what it has started.
	Kill(ctx context.Context, conn, signal string) error
}

// Interval is how long after a look the next one is taken, unless Options say
// otherwise.
const Interval = time.Second

// patience is how long a look or a kill may take before it has failed.
const patience = 5 * time.Second
