package learning

import (
	"time"

	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
)

// Lease is how long a client that learns may keep silent.
const Lease = 10 * time.Second

// A Box is a box in which it is learned what programs use (box.Learning).
type Box interface {
	Box() process.Box
	// Result returns what is known so far. Anybody may call it.
	Result() observe.Result
}

// A Learning is the observation of a service for a client of the control socket. The
// loop owns it, but Known is for anybody.
type Learning struct {
	id      string
	by      string
	service *service.Service
	box     Box         // nil until Begin; then it does not change
	lease   *time.Timer // ends the observation for a client that does not ask any more
}

// Begin notes that new workers of the service run in a box. silent is called, on a
// goroutine of its own, when Renew was not called for the time of a Lease.
func (l *Learning) Begin(box Box, silent func()) {
	l.box, l.lease = box, time.AfterFunc(Lease, silent)
}

// Renew notes that the client has asked.
func (l *Learning) Renew() { l.lease.Reset(Lease) }

// By tells of the client.
func (l *Learning) By() string { return l.by }

// Service returns the service that is observed.
func (l *Learning) Service() *service.Service { return l.service }

// InForce reports whether new workers of the service run in the box of the
// observation, as they do until the configuration of the service is changed.
func (l *Learning) InForce() bool { return l.service.Spec().ProcessBox() == l.box.Box() }

// Known returns what is known so far.
func (l *Learning) Known() control.Learned {
	r := l.box.Result()
	return control.Learned{
		ID: l.id, Service: l.service.Name, Processes: r.Processes, SystemCalls: r.Calls,
		AddressFamilies: r.Families, AnyFamily: r.AnyFamily, Needs: r.Needs, Denied: r.Denied,
	}
}
