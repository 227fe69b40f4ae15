package listen

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Options are the options of a listening socket and of its connections. They are part of
// the state that a master hands to the next one.
type Options struct {
	// Connections inherit these from the listener. They can be changed while
	// the socket listens.

	NoDelay bool `json:"no_delay"`
	// Keepalive is how long a peer is silent before the kernel probes it.
	// DeferAccept is how long the kernel holds back a connection that sends
	// nothing. Both are in whole seconds, and 0 means never.
	Keepalive time.Duration `json:"keepalive"`
	// UserTimeout is how long data may stay unacknowledged, or wait for a peer
	// that takes none, before the kernel ends the connection. It is in whole
	// milliseconds. 0 leaves it to the kernel, whose limit is tcp_retries2: some
	// 15 minutes for the former, and none for the latter.
	UserTimeout time.Duration `json:"user_timeout"`
	DeferAccept time.Duration `json:"defer_accept"`
	Backlog     int           `json:"backlog"` // 0: the longest that the kernel allows

	// These cannot be changed after bind.

	ReusePort    bool   `json:"reuse_port"`
	FreeBind     bool   `json:"free_bind"`
	BindToDevice string `json:"bind_to_device"`
	V6Only       bool   `json:"v6_only"` // for [::]; a listener without an address always has both families

	// The mode and the owners of a unix socket's file. A value of -1 leaves
	// that one unchanged.
	Mode int `json:"mode"`
	UID  int `json:"uid"`
	GID  int `json:"gid"`
}

// Defaults returns the default options of a service.
func Defaults() Options {
	return Options{NoDelay: true, Keepalive: time.Minute, UserTimeout: 2 * time.Minute, V6Only: true, Mode: -1, UID: -1, GID: -1}
}

// SameBinding reports whether a socket with these options can get the other
// ones without a new bind.
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

// The kernel gives up a silent peer that does not answer after Keepalive and this
// many probes at this interval. With a UserTimeout, that time counts instead of
// the number of probes (tcp(7)).
const (
	keepaliveInterval = 15 * time.Second
	keepaliveProbes   = 4
)

// beforeBind returns the options that must be set before a TCP socket is bound.
func (o Options) beforeBind() []option {
	// SO_REUSEADDR allows a restart while old connections are in TIME_WAIT. On
	// Linux it does not allow two servers at one address.
	options := []option{{unix.SOL_SOCKET, unix.SO_REUSEADDR, 1}}
	if o.ReusePort {
		options = append(options, option{unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	if o.FreeBind {
		options = append(options, option{unix.IPPROTO_IP, unix.IP_FREEBIND, 1})
	}
	return options
}

// forConnections returns the options of a TCP listener that accepted sockets
// inherit (tcp(7)). So no connection needs system calls for them. Each option
// is set, whatever its value is, because the kernel's defaults may differ
// between hosts.
func (o Options) forConnections() []option {
	options := []option{
		// Without TCP_NODELAY, a handler that answers with two small writes
		// waits for a delayed acknowledgement between them.
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, flag(o.NoDelay)},
		{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(o.DeferAccept / time.Second)},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout / time.Millisecond)},
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

// Apply gives a listener new options, except those that cannot be changed after
// bind. Only the goroutine that closes the listener may call it.
func (l *Listener) Apply(o Options) error {
	backlog := o.backlog()
	var failure error
	err := l.descriptor.Control(func(fd uintptr) {
		if l.path == "" {
			for _, opt := range o.forConnections() {
				failure = unix.SetsockoptInt(int(fd), opt.level, opt.name, opt.value)
				if opt.name == unix.TCP_USER_TIMEOUT && opt.level == unix.IPPROTO_TCP && (failure == unix.ENOPROTOOPT || failure == unix.EOPNOTSUPP) {
					failure = nil // an MPTCP socket, which a service manager may pass, has no such option
				}
				if failure != nil {
					return
				}
			}
		}
		// A second listen(2) changes the length of the queue and nothing else.
		// The queue of a service manager's socket keeps its length, unless the
		// options have another one.
		if !l.adopted || o.Backlog > 0 {
			failure = unix.Listen(int(fd), backlog)
		}
	})
	if err == nil {
		err = failure
	}
	if err == nil && l.bound != nil {
		err = l.bound.setOwner(o)
	}
	return err
}

// maxBacklog returns the longest queue that the running kernel allows. The
// constant SOMAXCONN is a value of the kernel's headers at build time. The
// kernel shortens a longer queue without an error (listen(2)).
func maxBacklog() int {
	text, err := os.ReadFile("/proc/sys/net/core/somaxconn")
	if err == nil {
		if n, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && n > 0 {
			return n
		}
	}
	return unix.SOMAXCONN
}
