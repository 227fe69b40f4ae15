package endpoints

import (
	"errors"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/systemd"
)

// A Listener is a listening socket and the Spec that it accepts for, which a
// reload may change while connections are being accepted.
type Listener struct {
	*listen.Listener
	spec   atomic.Pointer[service.Spec]
	closed chan struct{}
	origin string // "passed" or "stored"; "" for a socket that the master has bound

	// The loop owns what follows.

	onClose func()

	endpoint endpoint
	options  listen.Options
	stored   bool      // the service manager has a copy for the next process
	lost     bool      // the log has said that no client can reach it
	heir     *Listener // serves its address now; nil while the listener is in force
	replaced time.Time // when heir took over
}

// Spec returns what connections are accepted for at this moment.
func (l *Listener) Spec() *service.Spec { return l.spec.Load() }

// Closed returns a channel that is closed when the listener is.
func (l *Listener) Closed() <-chan struct{} { return l.closed }

// OnClose has f called when the listener is closed. Only the loop may call it, once.
func (l *Listener) OnClose(f func()) { l.onClose = f }

// LogListening says that connections are accepted from now on.
func (l *Listener) LogListening() {
	l.Spec().Owner().LogOnce(logging.EventListening, logging.Local(l.Local()), logging.From(l.origin))
}

// close ends accepting. For a socket that the service manager has a copy of it
// is not the end of the socket, nor of its file.
func (l *Listener) close() {
	close(l.closed)
	if l.onClose != nil {
		l.onClose()
	}
	end := l.Close
	if l.stored {
		end = l.CloseStored
	}
	if err := end(); err != nil && !errors.Is(err, listen.ErrClosed) { // the attic may have closed it
		l.Spec().Owner().Log.Warn("close listener", logging.Local(l.Local()), logging.Error(err))
	}
}

// An endpoint is what a listener was opened for: an address as it is configured.
// An address with port 0 is another endpoint for each service, and each time
// that the service lists it. A socket that was passed has no address but its
// number among those of the service.
type endpoint struct {
	address config.Address
	service string
	nth     int
	passed  bool
}

// storeName returns the name under which the service manager keeps the sockets
// of an endpoint. It says what tells endpoints apart.
func (e endpoint) storeName() string {
	name := e.address.String()
	if e.service != "" {
		name = e.service + "/" + strconv.Itoa(e.nth) + "/" + name
	}
	return systemd.StoreName(name)
}
