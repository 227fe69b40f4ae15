package box

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/process"
)

// probeTimeout bounds how long check waits for a process that tries the box.
const probeTimeout = 10 * time.Second

// noProgram is a path where no program is.
const noProgram = "/proc/preforkd-no-program"

// checkedFor is for how long a box is not tried again: the services that share one ask
// for it one after the other.
const checkedFor = time.Second

// wasChecked reports whether a service has had the box tried just now.
func (b *Box) wasChecked() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.checked) < checkedFor
}

// check tries the box: a process goes through all that a worker goes through before
// it executes its program, and executes none.
func (b *Box) check() error {
	if err := b.m.beginStart(); err != nil {
		return err
	}
	defer b.m.endStart()
	t, err := b.begin()
	if err != nil {
		return err
	}
	own, err := newReports()
	if err != nil {
		b.end()
		return err
	}
	defer own.close()
	c := &process.Command{Path: noProgram, Args: []string{"probe"}, Null: b.shared.null, Stderr: b.shared.null}
	entry, err := b.entry(c)
	if err != nil {
		b.end()
		return err
	}
	var child *process.Child
	err = b.do(func() (err error) {
		child, err = b.start(t, c, entry, own.sender(), b.shared.null, nil, nil)
		return err
	})
	if child == nil {
		return err
	}
	b.m.mu.Lock()
	if !child.Reaped() {
		b.m.probes[child.Pid] = true
	}
	b.m.mu.Unlock()
	cell := child.Cell.(*cell)
	f, reported := own.await(child.Pid, cell.pidfd, probeTimeout)
	child.Kill()
	// Somebody reaps it. Its cell ends with it.
	child.ReleaseHandle()
	cell.drop()
	b.end()
	switch {
	case !reported:
		return errors.New("a process that tries the box does not come to its end")
	case f.Step.Action != stub.Execute:
		return explainStep(f, &b.cfg)
	}
	// It has come as far as to the program. That one is not found, or the box shows
	// nobody whether it is there.
	if f.Errno != unix.ENOENT && f.Errno != unix.EACCES && f.Errno != unix.ENOTDIR {
		return explainStep(f, &b.cfg)
	}
	b.mu.Lock()
	b.checked = time.Now()
	b.mu.Unlock()
	return nil
}
