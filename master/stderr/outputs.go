package stderr

import (
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Outputs are where fd 2 of workers leads that have no pipe of their own. A Relay
// is opened when it is wanted first, and stays until Close. Any goroutine may call
// the methods.
type Outputs struct {
	own      *os.File
	forward  func(line []byte)
	leaderOf func(pid int) int
	reopened func(error)

	opening sync.Mutex // held while a Relay is opened
	inherit atomic.Pointer[Relay]
	discard atomic.Pointer[Relay]

	// The loop owns what follows.

	paused   []*Relay // by Pause
	restored []*Relay // that are to be read from Resume on
}

// NewOutputs returns Outputs whose own is the master's stderr; the caller keeps
// it. forward passes a line on to it without waiting. leaderOf and reopened are
// those of Open.
func NewOutputs(own *os.File, forward func(line []byte), leaderOf func(pid int) int, reopened func(error)) *Outputs {
	return &Outputs{own: own, forward: forward, leaderOf: leaderOf, reopened: reopened}
}

// Inherit returns fd 2 of workers whose lines go to the master's stderr. That is
// the master's own where it is a terminal or another device: nobody has to read
// those, and programs see what they write to.
func (o *Outputs) Inherit() (*os.File, error) {
	if isDevice(o.own) {
		return o.own, nil
	}
	return o.open(&o.inherit, o.forward)
}

// Discard returns fd 2 of workers whose lines go nowhere, but for the last ones.
func (o *Outputs) Discard() (*os.File, error) { return o.open(&o.discard, nil) }

func (o *Outputs) open(to *atomic.Pointer[Relay], forward func([]byte)) (*os.File, error) {
	o.opening.Lock()
	defer o.opening.Unlock()
	if r := to.Load(); r != nil {
		return r.File(), nil
	}
	r, err := Open(forward, o.leaderOf, o.reopened)
	if err != nil {
		return nil, err
	}
	to.Store(r)
	return r.File(), nil
}

// isDevice reports whether a file is a terminal, /dev/null or the like.
func isDevice(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// relays returns those that are open.
func (o *Outputs) relays() [2]*Relay { return [2]*Relay{o.inherit.Load(), o.discard.Load()} }

// Take is Relay.Take.
func (o *Outputs) Take(pid int, since time.Time) string {
	for _, r := range o.relays() {
		if r != nil {
			if tail := r.Take(pid, since); tail != "" {
				return tail
			}
		}
	}
	return ""
}

// Forget is Relay.Forget.
func (o *Outputs) Forget(pid int) {
	for _, r := range o.relays() {
		if r != nil {
			r.Forget(pid)
		}
	}
}

// Flush is Relay.Flush.
func (o *Outputs) Flush() {
	for _, r := range o.relays() {
		if r != nil {
			r.Flush()
		}
	}
}

// Close is Relay.Close. Nobody opens any more.
func (o *Outputs) Close() {
	for _, r := range o.relays() {
		if r != nil {
			r.Close()
		}
	}
}
