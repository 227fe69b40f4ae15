package mounts

import (
	"golang.org/x/sys/unix"
)

// A builder makes the mounts of one template, on a thread that is in the new
// namespace. Until leaveMachine the root of that thread is the machine's, and the
// new root is mounted on top of it.
type builder struct {
	c Config
	// namespace is the new namespace, which the template gets in the end.
	namespace int

	fds     []int    // closed at the end
	machine resolver // the root of the process, in the new namespace
	box     resolver // the new root
	blank   int      // a temporary file system with an empty directory and file
	sources []int    // copies of the sources of c.Binds; -1 for one that may be missing
	covers  []cover
	made    []uint64 // the devices of the file systems that are the template's own
	sealed  []int    // mounts of such, which become read-only
	placed  []placed
	access  []access
	dev     string // where a private /dev is
	cell    []Mount
}

func (b *builder) close() {
	for _, fd := range b.fds {
		unix.Close(fd)
	}
}

// keep makes close close a descriptor.
func (b *builder) keep(fd int) int {
	b.fds = append(b.fds, fd)
	return fd
}

// A placed is a place that was found.
type placed struct {
	place
	real string // the path without links
}

// locate finds a place of the box that a key changes. It returns -1 if the place may
// be missing and is, and if nothing is left to do because it is hidden. The caller
// must close the descriptor.
func (b *builder) locate(p place) (fd int, path string, err error) {
	fd, path, err = b.box.find(p)
	if err != nil {
		if e := checkCovered(b.covers, p, p.path); e != nil {
			return -1, "", e
		}
		if p.key == keyReadOnly && isHidden(b.covers, p.path) {
			return -1, "", nil
		}
		return -1, "", err
	}
	if fd < 0 {
		return -1, "", nil
	}
	if err := checkRootItself(p, path); err != nil {
		unix.Close(fd)
		return -1, "", err
	}
	b.placed = append(b.placed, placed{place: p, real: path})
	return fd, path, nil
}

// checkPlaced finds places that a cover has taken away. It comes last, because a
// path may lead elsewhere when its place is made.
func (b *builder) checkPlaced() error {
	for _, p := range b.placed {
		if err := checkCovered(b.covers, p.place, p.real); err != nil {
			return err
		}
	}
	return nil
}

// replace detaches what is mounted on a path without links, and calls put with what
// is there then. So the file system of the box does not keep mounts that nobody
// can see: each of them would be copied for each cell.
func (b *builder) replace(path string, put func(target int) error) error {
	b.uncover(path)
	target, err := b.box.open(path)
	if err != nil {
		return err
	}
	defer unix.Close(target)
	return put(target)
}

// uncover detaches all that is mounted on a path. The kernel may refuse that (a
// mount of a user namespace's parent is locked, mount_namespaces(7)). Then it
// stays there, and is covered by what is mounted next.
func (b *builder) uncover(path string) {
	for path != "/" {
		fd, err := b.box.open(path)
		if err != nil {
			return
		}
		done := !isMountRoot(fd) || unix.Unmount(fdPath(fd), unix.MNT_DETACH) != nil
		unix.Close(fd)
		if done {
			return
		}
	}
}

// listCellMounts fills in what each cell mounts, and detaches what would lie below
// that. A /proc stays: without one that is whole, the kernel refuses a fresh one in
// a user namespace.
func (b *builder) listCellMounts() (err error) {
	b.cell, err = cellMounts(b.box, b.c)
	if err != nil {
		return err
	}
	for _, m := range b.cell {
		if m.Type == "tmpfs" {
			b.uncover(m.Target)
		}
	}
	return nil
}
