package mounts

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// A Template is a mount namespace that the cells of a box are copied from. The
// kernel keeps it for as long as the descriptor is open or a process is in it.
type Template struct {
	fd     int
	mounts []Mount
}

// FD returns the namespace's descriptor, for setns(2) with CLONE_NEWNS. The
// template keeps it; it is closed on exec.
func (t *Template) FD() int { return t.fd }

// CellMounts returns what the first process of each cell mounts in its copy of
// the namespace, in this order, before any other process may be there. The caller
// must not change it.
func (t *Template) CellMounts() []Mount { return t.mounts }

// Close closes the namespace's descriptor. Cells that were copied from the template
// are not changed.
func (t *Template) Close() error {
	return os.NewSyscallError("close", unix.Close(t.fd))
}

// Build makes a template. It may be called by several goroutines at once. The
// error names the key, the path and the errno, in one line; it is a *MissingError
// where this machine cannot give what the key asks for. The caller must call
// Close.
func Build(c Config) (*Template, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	t := &Template{fd: -1}
	// The thread ends with Close. So its namespace is left to the descriptor
	// alone, and no other goroutine ever sees it.
	thread, err := osthread.Start(func() error { return t.build(c) })
	if err != nil {
		return nil, err
	}
	thread.Close()
	return t, nil
}

// build runs on a thread that ends afterwards, also when it fails.
func (t *Template) build(c Config) (err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS); err != nil {
		return failed(c.key(), "", "unshare", err)
	}
	unix.Umask(0) // of this thread alone, since unshare(2)
	namespace, err := unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%s: /proc/thread-self/ns/mnt: %w", c.key(), err)
	}
	defer func() {
		if err != nil {
			unix.Close(namespace)
		}
	}()
	b := &builder{c: c, namespace: namespace}
	defer b.close()
	for _, step := range []func() error{
		b.enter,
		b.copyTrees,
		b.showKernel,
		b.makeTemporary,
		b.makeDevices,
		b.attachBinds,
		b.hide,
		b.setWritable,
		b.listCellMounts,
		b.checkPlaced,
		b.leaveMachine,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	t.fd, t.mounts = namespace, b.cell
	return nil
}
