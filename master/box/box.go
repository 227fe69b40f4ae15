package box

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/cgroup"
	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/box/userpool"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/executable"
	"github.com/preforkd/preforkd/master/process"
)

// A Box is what the processes of one or more services run in. It implements
// process.Box.
type Box struct {
	m      *Manager
	shared *shared
	cfg    config.Box // as Effective returns it
	set    settings
	users  *userpool.Pool // nil without dynamic-user

	service string // whose cgroup it has; "" for none
	former  bool   // it is that of an earlier master, and has no configuration

	building sync.Mutex // held while the template is made

	mu         sync.Mutex // guards what follows
	template   *template  // nil until something is started, and when the box is closed
	entries    map[entryKey]*image
	generation int            // how often services were put in force
	idle       []*cell        // as new as they were made; the last one was used last
	left       []*cell        // that a process has left, and whose holders were asked what is there
	inspecting inspection     // of what is left
	leaves     []*cgroup.Leaf // that no cell has
	spare      int            // how few cells were idle at any time since trimming was set
	trimming   bool           // trim is to be called
	making     bool           // a cell is being made ahead
	live       int            // processes and cells that are not idle
	used       bool           // a service in force has the box
	checked    time.Time      // when a try of it has succeeded last
}

// An entryKey is what differs between the entries of a box.
type entryKey struct {
	path, directory string
	report          int
	passed          bool // its program is passed to it
}

// newBox returns a box. With a learner its filter tells of all calls.
func newBox(m *Manager, s *shared, service string, cfg *config.Box, learner *observe.Learner) (*Box, error) {
	b := &Box{m: m, shared: s, cfg: *cfg, service: service, entries: map[entryKey]*image{}, used: true}
	var err error
	if b.set, err = translate(&b.cfg, learner); err != nil {
		return nil, err
	}
	if cfg.DynamicUser {
		if !held(unix.CAP_SETUID) || !held(unix.CAP_SETGID) {
			return nil, &MissingError{Key: "dynamic-user", Missing: "CAP_SETUID and CAP_SETGID",
				Remedy: "give them to the master (box.conf of deploy/drop-in, root in a container)"}
		}
		if b.users, err = m.pool(cfg.UserPool); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Bare implements process.Box.
func (b *Box) Bare() bool { return b.set.bare }

// do runs f on a thread that may start a process in the box.
func (b *Box) do(f func() error) error {
	if b.set.bare {
		return b.m.threads.DoBare(f)
	}
	return b.m.threads.Do(f)
}

// Start implements process.Box.
func (b *Box) Start(c *process.Command, conn *os.File, env []string, message []byte) (*process.Child, error) {
	if err := b.m.beginStart(); err != nil {
		return nil, err
	}
	defer b.m.endStart()
	t, err := b.begin()
	if err != nil {
		return nil, err
	}
	entry, err := b.entry(c)
	if err != nil {
		b.end()
		return nil, err
	}
	return b.start(t, c, entry, b.shared.reports.sender(), conn, env, message)
}

// start starts a process for which begin was called.
func (b *Box) start(t *template, c *process.Command, entry *image, report, conn *os.File, env []string, message []byte) (child *process.Child, err error) {
	program := c.File
	if program == nil && c.Handler {
		if program, err = openProgram(c); err != nil {
			b.end()
			return nil, err
		}
		defer program.Close()
	}
	var alarm *os.File
	if b.needsAlarm() {
		if alarm, err = b.shared.alarm.open(); err != nil {
			b.end()
			return nil, err
		}
		defer alarm.Close()
	}
	// The first process of an idle cell may have been killed.
	for range maxIdle + 1 {
		var own *cell
		own, err = b.take(t)
		if errors.Is(err, errHolderEnded) && !errors.Is(err, process.ErrThreadLost) {
			continue
		}
		if err != nil {
			break
		}
		if err = own.acquireUser(); err != nil {
			own.unused()
			break
		}
		cgroupFD := -1
		if t.group != nil {
			if cgroupFD, err = b.openGroup(t, own); err != nil {
				own.unused()
				break
			}
		}
		in := &process.Inside{Image: entry.path, ImageFile: entry.file, Program: program, Report: report, Alarm: alarm, Credential: c.Credential, Ambient: b.set.ambient, Cgroup: cgroupFD}
		if own.dynamicUser {
			in.Credential = &syscall.Credential{Uid: own.uid, Gid: own.uid, Groups: []uint32{}}
		}
		if in.Credential == nil && os.Geteuid() == 0 {
			in.Ambient = nil // an exec gives user 0 all that is permitted
		}
		own.once.Store(!b.set.reusable || conn != nil && mayCarryDescriptors(conn))
		var gone bool
		err = b.inside(t, own, entry.dir, func() (err error) {
			child, err = c.StartInside(conn, env, message, in)
			// Nothing can be started in a pid namespace whose first process has
			// ended (pid_namespaces(7)).
			gone = own.pidfd >= 0 && errors.Is(err, unix.ENOMEM) && own.endsWithin(dyingTime)
			return err
		})
		if cgroupFD >= 0 {
			unix.Close(cgroupFD)
		}
		if child != nil {
			child.Cell, own.worker = own, child.Pid
			return child, err
		}
		if !gone && !errors.Is(err, unix.ESRCH) {
			err = fmt.Errorf("start %s in a box: %w", c.Path, err)
			own.unused()
			break
		}
		// It may still be about to end, so that it does not look like it yet.
		own.drop()
	}
	b.end()
	return nil, err
}

// dyingTime bounds how long the first process of a cell, which was killed, may take
// to end once nothing can be started in its namespace any more.
const dyingTime = 100 * time.Millisecond

// mayCarryDescriptors reports whether a program could send a descriptor of what is in
// its cell to its client (SCM_RIGHTS, unix(7)).
func mayCarryDescriptors(conn *os.File) bool {
	domain, err := unix.GetsockoptInt(int(conn.Fd()), unix.SOL_SOCKET, unix.SO_DOMAIN)
	return err != nil || domain == unix.AF_UNIX
}

// inside runs f on the calling thread, in a cell or else in the box, with a
// working directory. The thread is back outside afterwards, or else the error
// wraps process.ErrThreadLost.
func (b *Box) inside(t *template, own *cell, dir int, f func() error) error {
	entered, err := t.enter(own)
	if err == nil && dir >= 0 {
		err = os.NewSyscallError("fchdir", unix.Fchdir(dir))
	}
	if err == nil {
		err = f()
	}
	if entered == 0 {
		return err
	}
	back := os.NewSyscallError("setns", unix.Setns(b.shared.self, int(entered)))
	if back == nil && entered&unix.CLONE_NEWNS != 0 {
		back = b.shared.home.enter()
	}
	if back != nil {
		return errors.Join(err, fmt.Errorf("%w: %w", process.ErrThreadLost, back))
	}
	return err
}

// openProgram opens the file of a command for no more than to execute it (open(2),
// O_PATH). The caller must close it.
func openProgram(c *process.Command) (*os.File, error) {
	fd, err := unix.Open(c.Path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, c.ExecError(c.Path, err.(unix.Errno))
	}
	return os.NewFile(uintptr(fd), c.Path), nil
}

// entry returns the image that makes a process ready and becomes the program of a
// command.
func (b *Box) entry(c *process.Command) (*image, error) {
	key := entryKey{c.Path, c.Directory, c.ReportFD(), c.PassesProgram()}
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[key]; e != nil {
		e.generation = b.generation
		return e, nil
	}
	e := b.set.entry
	e.Path, e.Directory, e.Report = key.path, key.directory, key.report
	e.Listener = b.template.subject
	if c.PassesProgram() {
		e.Program = c.ProgramFD()
	}
	if !b.set.mounted() {
		e.Self = c.ImageFD()
	}
	if b.needsAlarm() {
		e.Alarm = c.AlarmFD()
	}
	if e.Directory == "" && b.set.mounted() {
		e.Directory = "/" // the master's own may not be there
	}
	content, err := e.Image()
	if err != nil {
		return nil, err
	}
	i, err := b.addImage(content, 0o111) // nobody has to read it
	if err != nil {
		return nil, err
	}
	i.generation = b.generation
	b.entries[key] = i
	return i, nil
}

// Failure implements process.Box.
func (b *Box) Failure(c *process.Command, exit *process.Exit) error {
	// What is killed may have reported before.
	if exit.Status.ExitStatus() != stub.ExitFailed && !exit.Status.Signaled() {
		return nil
	}
	f, reported := b.shared.reports.take(exit.Pid)
	if !reported {
		return nil // the program has ended like that
	}
	if f.Step.Action == stub.Execute {
		return c.ExecError(c.Path, f.Errno)
	}
	return fmt.Errorf("start %s in a box: %w", c.Path, f)
}

// Open implements process.Box.
func (b *Box) Open(path string) (*os.File, error) {
	if !b.set.mounted() {
		return executable.Open(path)
	}
	v, errs := mounts.NewView(b.set.mounts)
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	defer v.Close()
	return v.Open(path)
}

var _ process.Box = (*Box)(nil)
