package carry

import (
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// An FD is the number of a descriptor in a state, None for none.
type FD int

// None is no descriptor.
const None FD = -1

// Descriptors are those that go over an exec. Any goroutine may use them.
type Descriptors struct {
	mu   sync.Mutex // guards what follows
	kept map[FD]*descriptor
}

type descriptor struct {
	taken bool
	file  *os.File // that owns it, nil if there is none
}

// NewDescriptors returns an empty set, for an export.
func NewDescriptors() *Descriptors { return &Descriptors{kept: map[FD]*descriptor{}} }

// Keep has a descriptor go over. It stays its owner's. A negative one is None.
func (d *Descriptors) Keep(fd int) FD {
	if fd < 0 {
		return None
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[FD(fd)] = &descriptor{}
	return FD(fd)
}

// Numbers returns the descriptors in ascending order.
func (d *Descriptors) Numbers() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	numbers := make([]int, 0, len(d.kept))
	for fd := range d.kept {
		numbers = append(numbers, int(fd))
	}
	slices.Sort(numbers)
	return numbers
}

// Open has the descriptors stay open over an exec. On error none does.
func (d *Descriptors) Open() error { return d.setFlags(0) }

// Close has the descriptors close on an exec, as all others do.
func (d *Descriptors) Close() error { return d.setFlags(unix.FD_CLOEXEC) }

// setFlags sets the descriptor flags. The only one is FD_CLOEXEC (fcntl(2)).
func (d *Descriptors) setFlags(flags int) error {
	numbers := d.Numbers()
	for i, fd := range numbers {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags); err != nil {
			if flags == 0 {
				for _, fd := range numbers[:i] {
					_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC)
				}
			}
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// Inherited returns the descriptors that went over, and has them close on the next exec.
// It is an error if one is not there.
func Inherited(numbers []int) (*Descriptors, error) {
	d := NewDescriptors()
	for _, fd := range numbers {
		if fd <= 2 {
			return nil, fmt.Errorf("descriptor %d cannot be one that went over", fd)
		}
		d.Keep(fd)
	}
	return d, d.Close()
}

// Take makes a descriptor that went over the caller's, None for None. Each may be taken
// once. In a rehearsal it is only a number.
func (d *Descriptors) Take(fd FD) (int, error) {
	if fd == None {
		return -1, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch k := d.kept[fd]; {
	case k == nil:
		return -1, fmt.Errorf("descriptor %d did not go over", fd)
	case k.taken:
		return -1, fmt.Errorf("descriptor %d has two owners", fd)
	default:
		k.taken = true
		return int(fd), nil
	}
}

// File is Take for a descriptor that becomes a file's, nil for None. A file that nobody
// refers to any more closes its descriptor at the next garbage collection. So the set
// refers to it, too.
func (d *Descriptors) File(fd FD, name string) (*os.File, error) {
	n, err := d.Take(fd)
	if err != nil || n < 0 {
		return nil, err
	}
	file := os.NewFile(uintptr(n), name)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.kept[fd].file = file
	return file, nil
}

// Untaken returns the descriptors that nobody has taken.
func (d *Descriptors) Untaken() (untaken []int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for fd, k := range d.kept {
		if !k.taken {
			untaken = append(untaken, int(fd))
		}
	}
	slices.Sort(untaken)
	return untaken
}

// CloseUntaken closes the descriptors that nobody has taken, and returns them.
func (d *Descriptors) CloseUntaken() []int {
	untaken := d.Untaken()
	for _, fd := range untaken {
		unix.Close(fd)
	}
	return untaken
}
