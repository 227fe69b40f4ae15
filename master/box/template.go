package box

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/osthread"
)

// A template is what all processes of a box share, and what its cells are made
// from. It is immutable.
type template struct {
	mounts *mounts.Template // nil without mounts
	net    int              // descriptor of a network namespace, or -1
	uts    int              // of a namespace of host names, or -1
	init   *image           // of the first process of a cell; nil without cells
	drop   func()
	looks  stub.Init // what the first process of a cell looks at
	queues bool      // the last directory that it looks at is that of the POSIX message queues
	// subject is the number of what the filter tells of, 0 without one, and forget has
	// nobody told any more.
	subject uint32
	forget  func()
	group   *group // nil without cgroups
}

// initControl is the descriptor of the first process of a cell that its control
// socket has.
const initControl = 3

func newTemplate(b *Box) (*template, error) {
	t := &template{net: -1, uts: -1}
	err := t.make(b)
	if err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

func (t *template) make(b *Box) (err error) {
	s := &b.set
	if s.mounted() {
		if t.mounts, err = mounts.Build(s.mounts); err != nil {
			if missing, ok := errors.AsType[*mounts.MissingError](err); ok {
				return &MissingError{missing.Key, missing.Missing, missing.Remedy, missing.Err}
			}
			return err
		}
	}
	if shared := s.flags &^ s.cellFlags & (unix.CLONE_NEWNET | unix.CLONE_NEWUTS); shared != 0 {
		if err := t.makeNamespaces(shared); err != nil {
			return explainClone(err, &b.cfg, shared)
		}
	}
	if s.counted {
		if t.group, err = b.m.groups.open(b.service, &b.cfg); err != nil {
			return err
		}
	}
	if s.subject != nil {
		o, err := b.shared.observer()
		if err != nil {
			return err
		}
		t.subject = o.Add(s.subject)
		t.forget = func() { o.Remove(t.subject) }
	}
	if !s.hasCells() {
		return nil
	}
	i := stub.Init{Control: initControl}
	if t.mounts != nil {
		i.Directories = t.mounts.TemporaryDirectories()
		if t.queues = s.mounts.HasQueues(); t.queues {
			i.Directories = append(i.Directories, mounts.QueuesDirectory)
		}
		for _, m := range t.mounts.CellMounts() {
			i.Mounts = append(i.Mounts, stub.Mount{Source: m.Source, Target: m.Target, Type: m.Type, Flags: m.Flags, Data: m.Data})
		}
	}
	i.IPC = s.cellFlags&unix.CLONE_NEWIPC != 0
	// Once nobody answers its calls, a program could do nothing but try in vain. Where there
	// is no first process there is an alarm.
	i.EndWithMaster = b.learns()
	t.looks = i
	content, err := i.Image()
	if err != nil {
		return err
	}
	// Who cannot read the image of a process may not look into the process, nor enter its
	// namespaces (ptrace(2), "dumpable"). A master that is not root has to.
	t.init, err = b.addImage(content, 0o555)
	if err == nil {
		t.drop = func() { b.shared.images.drop(t.init) }
	}
	return err
}

// makeNamespaces makes namespaces on a thread that ends afterwards. The descriptors
// keep them.
func (t *template) makeNamespaces(flags uintptr) error {
	thread, err := osthread.Start(func() error {
		if err := unix.Unshare(int(flags)); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		for _, n := range []struct {
			flag uintptr
			name string
			fd   *int
		}{{unix.CLONE_NEWNET, "net", &t.net}, {unix.CLONE_NEWUTS, "uts", &t.uts}} {
			if flags&n.flag == 0 {
				continue
			}
			fd, err := unix.Open("/proc/thread-self/ns/"+n.name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("open", err)
			}
			*n.fd = fd
		}
		return nil
	})
	if err == nil {
		thread.Close()
	}
	return err
}

// enter moves the calling thread into a cell; without one, into what the box shares.
// It returns in which namespaces the thread is not at home any more, also on error.
func (t *template) enter(own *cell) (entered uintptr, err error) {
	if own != nil && own.pidfd >= 0 {
		flags := own.box.set.flags
		if err := unix.Setns(own.pidfd, int(flags)); err != nil {
			return 0, os.NewSyscallError("setns", err)
		}
		return flags, nil
	}
	for _, n := range []struct {
		fd   int
		flag uintptr
	}{{t.mountFD(), unix.CLONE_NEWNS}, {t.net, unix.CLONE_NEWNET}, {t.uts, unix.CLONE_NEWUTS}} {
		if n.fd < 0 {
			continue
		}
		if err := unix.Setns(n.fd, int(n.flag)); err != nil {
			return entered, os.NewSyscallError("setns", err)
		}
		entered |= n.flag
	}
	return entered, nil
}

func (t *template) mountFD() int {
	if t.mounts == nil {
		return -1
	}
	return t.mounts.FD()
}

func (t *template) close() {
	if t.mounts != nil {
		t.mounts.Close()
	}
	for _, fd := range []int{t.net, t.uts} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
	if t.drop != nil {
		t.drop()
	}
	if t.forget != nil {
		t.forget()
	}
	if t.group != nil {
		t.group.close()
	}
}
