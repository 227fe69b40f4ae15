package listen

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options are those of a listening socket and of the connections that it
// accepts.
type Options struct {
	// What the kernel hands on from the listener to each connection, and can
	// be changed while it listens.

	NoDelay bool
	// Keepalive is the silence after which a peer is probed, DeferAccept how
	// long a connection that sends nothing is kept from being accepted; both
	// in whole seconds, 0 for never.
	Keepalive   time.Duration
	DeferAccept time.Duration
	Backlog     int // 0: as much as the kernel grants

	// What is settled when a socket is bound.

	ReusePort    bool
	FreeBind     bool
	BindToDevice string
	V6Only       bool // of [::]; every address is always both families

	// Of the file of a unix socket: -1 leaves each as it comes.
	Mode, UID, GID int
}

// Defaults returns the options of a service of which nothing is said.
func Defaults() Options {
	return Options{NoDelay: true, Keepalive: time.Minute, V6Only: true, Mode: -1, UID: -1, GID: -1}
}

// SameBinding reports whether a socket with the one set of options can be given
// the other without being bound again.
func (o Options) SameBinding(other Options) bool {
	return o.ReusePort == other.ReusePort && o.FreeBind == other.FreeBind && o.BindToDevice == other.BindToDevice && o.V6Only == other.V6Only
}

type option struct{ level, name, value int }

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// A peer that has vanished is noticed after keepalive and so many probes at
// such an interval.
const (
	keepaliveInterval = 15 * time.Second
	keepaliveProbes   = 4
)

// bound returns the options that are set before a TCP socket is bound.
func (o Options) bound() []option {
	// Restart while old connections are in TIME_WAIT. On Linux it does not let
	// a second server have an address that one listens at.
	options := []option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}
	if o.ReusePort {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if o.FreeBind {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_FREEBIND, 1})
	}
	return options
}

// inherited returns the options of a TCP listener that accepted sockets inherit
// (tcp(7)), which saves system calls for every connection. Each is set whatever
// its value: the defaults of the kernel may differ between hosts.
func (o Options) inherited() []option {
	options := []option{
		// Without it a handler that answers in two small writes waits for a
		// delayed acknowledgement between them.
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, flag(o.NoDelay)},
		{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(o.DeferAccept / time.Second)},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, flag(o.Keepalive > 0)},
	}
	if o.Keepalive > 0 {
		options = append(options,
			option{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(o.Keepalive / time.Second)},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepaliveInterval / time.Second)},
			option{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepaliveProbes})
	}
	return options
}

func (o Options) backlog() int {
	if o.Backlog > 0 {
		return o.Backlog
	}
	return maxBacklog()
}

// Apply gives a listener other options, all but those of SameBinding. It is for
// the goroutine that also closes the listener.
func (l *Listener) Apply(o Options) error {
	var failure error
	err := l.raw.Control(func(fd uintptr) {
		if l.path == "" {
			for _, opt := range o.inherited() {
				if failure = unix.SetsockoptInt(int(fd), opt.level, opt.name, opt.value); failure != nil {
					return
				}
			}
		}
		// Listening again changes the length of the queue and nothing else. A
		// queue that a service manager has made keeps its length unless
		// another one is asked for.
		if !l.adopted || o.Backlog > 0 {
			failure = unix.Listen(int(fd), o.backlog())
		}
	})
	if err == nil {
		err = failure
	}
	if err == nil && l.bound != nil {
		err = l.bound.own(o)
	}
	return err
}

// maxBacklog returns the longest accept queue that the running kernel grants.
// The constant SOMAXCONN of the headers is only what it was at build time, and
// the kernel cuts what is asked for without a word (listen(2)).
func maxBacklog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			return n
		}
	}
	return unix.SOMAXCONN
}
