package config

import (
	"os"
	"slices"

	"github.com/preforkd/preforkd/master/box/userpool"
)

// BoxDefault is what the box of a built-in handler starts from where the configuration
// names no preset. It cannot be written.
const BoxDefault BoxPreset = "default"

// handlerUserPool is the rest of the range that systemd keeps for its dynamic users. So
// handlers take no user from services whose configuration asks for one.
var handlerUserPool = UserRange{DefaultUserPool.Last + 1, 65519}

// handlerBox is the box of built-in handlers: preset strict, without what costs each
// connection a cell of its own.
//
// A handler is a program of preforkd itself, and its work is known: to move bytes
// between the descriptors that it has. So its list of system calls opens no file, makes
// no socket and executes nothing, and what a cell would keep from neighbours is out of
// reach of these calls: processes (kill, ptrace), System V IPC, message queues, abstract
// sockets. Then all connections can share the namespaces, which are made once: a cell
// would make a connection of the echo handler a third dearer, and all of the box together
// makes it less than a tenth.
func handlerBox() Box {
	b := presets[BoxStrict]
	b.PrivatePIDs, b.PrivateIPC, b.PrivateTmp = false, false, false
	b.TemporaryFileSystem = slices.DeleteFunc([]string{"/tmp", "/var/tmp"}, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || !info.IsDir()
	})
	b.UserPool = handlerUserPool
	b.SystemCalls = []string{
		"@default", "~execve", "@io-event",
		// The connection, the control channel, pipes, and a socket pair to warm up with.
		"close", "dup3", "fcntl", "fstat", "getsockopt", "pipe2", "pread64", "read", "recvfrom", "recvmsg", "sendmsg", "sendto",
		"setsockopt", "shutdown", "socketpair", "splice", "write",
		// Go's runtime, and the C library's threads.
		"clone", "clone3", "madvise", "rt_sigaction", "rt_sigprocmask", "sigaltstack", "tgkill",
		// Package confine, which takes away what is not needed any more; @default has more for it.
		"prctl",
	}
	return b
}

// defaultBoxes are what built-in handlers have where the configuration asks for nothing:
// with a user of their own for each connection, and without. They depend on this machine.
// Nobody changes them: thousands of services may have the same one.
type defaultBoxes struct {
	users, plain *Box
	noUsers      bool // the users are taken
}

func newDefaultBoxes() *defaultBoxes {
	b := PresetBox(BoxDefault)
	b.Implied = b.asked()
	return &defaultBoxes{&b, new(b.withoutUsers()), userpool.Check(b.UserPool.First, b.UserPool.Last) != nil}
}

// of returns the default box of a service with a handler.
func (d *defaultBoxes) of(s *Service) *Box {
	// A default is in nobody's way.
	if s.User != "" || s.Group != "" || s.Leftovers == LeftoversKeep || d.noUsers {
		return d.plain
	}
	return d.users
}

// has reports whether a box is one of them.
func (d *defaultBoxes) has(b *Box) bool { return b == d.users || b == d.plain }

// defaultBoxes returns the default boxes on this machine, the same for all of a load.
func (c *Config) defaultBoxes() *defaultBoxes {
	if c.setting.boxes == nil {
		c.setting.boxes = newDefaultBoxes()
	}
	return c.setting.boxes
}

// defaultBox returns the box that a service starts from if it names no preset. The other
// keys of the service must be there.
func (s *Service) defaultBox() Box {
	if len(s.Program) > 0 {
		return PresetBox(DefaultProgramBox)
	}
	return *newDefaultBoxes().of(s)
}

// imply finds out which keys of the box ask for something by default only.
func (s *Service) imply(given func(key string) bool) {
	b := s.Box
	b.Implied = nil
	if b.Preset == BoxDefault {
		b.Implied = slices.DeleteFunc(b.asked(), given)
		if !b.DynamicUser && !given("user-pool") {
			b.UserPool = DefaultUserPool
		}
	}
}

// withoutUsers returns a box without users of the connections' own.
func (b Box) withoutUsers() Box {
	b.DynamicUser, b.UserPool = false, DefaultUserPool
	b.Implied = slices.DeleteFunc(slices.Clone(b.Implied), func(key string) bool { return key == "dynamic-user" })
	return b
}

// settleHandlerBoxes leaves the default box to services with ServesHandler: nothing else
// could work with so little.
//
// It leaves users of their own to the connections of the first services
// whose boxes have them by default, as far as there are enough for all of their
// connections and spares at once. So no connection of a handler waits for a user that the
// configuration did not ask for.
func (c *Config) settleHandlerBoxes() {
	left := handlerUserPool.Size()
	for i := range c.Services {
		s := &c.Services[i]
		switch n := s.MaxConnections + s.MaxSpares; {
		case len(s.Box.Implied) > 0 && !c.ServesHandler(s):
			s.Box = new(s.Box.Written())
		case !s.Box.DynamicUser, s.Box.UserPool != handlerUserPool, !slices.Contains(s.Box.Implied, "dynamic-user"):
		case n <= left:
			left -= n
		case s.Box == c.defaultBoxes().users:
			s.Box = c.defaultBoxes().plain
		default:
			s.Box = new(s.Box.withoutUsers())
		}
		s.kept = s.kept && s.Box == s.inForce
	}
}

// ConfinesHandler reports whether the box does for a built-in handler what
// ipc.ArgumentBoxed says: it has what the default box has for that.
func (b *Box) ConfinesHandler() bool {
	byDefault := handlerBox()
	return slices.Equal(b.SystemCalls, byDefault.SystemCalls) && b.SystemCallsAction != SystemCallsLog && b.NoNewPrivileges &&
		b.PrivateNetwork && b.ProtectSystem == ProtectSystemStrict && len(b.ReadWritePaths) == 0 && b.HidesTmp() && b.ProtectHome && b.ProtectProc &&
		b.DynamicUser
}

// MayLack reports whether a key of the box may be missing on a machine: the configuration
// says so, or does not ask for it.
func (b *Box) MayLack(key string) bool {
	return slices.Contains(b.Optional, key) || slices.Contains(b.Implied, key)
}

// Written returns the box without what it has by default only.
func (b *Box) Written() Box {
	written := *b
	if b.Preset == BoxDefault {
		written.Preset = BoxNone
	}
	for _, key := range b.Implied {
		written = written.Without(key)
	}
	if !written.DynamicUser && written.UserPool == handlerUserPool {
		written.UserPool = DefaultUserPool
	}
	written.Implied = nil
	return written.completed()
}
