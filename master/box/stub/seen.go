package stub

import (
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Seen is what an Init has seen in its namespaces, where nothing runs. It looks itself,
// because from outside it takes a thread that enters them.
type Seen struct {
	Directories []Directory // of Init.Directories, in this order
	// Objects is how many System V IPC objects there are (sysvipc(7)), 0 without Init.IPC.
	Objects int
}

// A Directory is the state of a directory and of its file system.
type Directory struct {
	Stat       unix.Stat_t
	FileSystem unix.Statfs_t
}

// The answer to a RequestCheck or a RequestLook has for each directory a struct stat and a struct statfs,
// then a structure for each kind of IPC object: shm_info, seminfo and msginfo.
const (
	statSize      = 144 // the larger of the two architectures, and a multiple of 8
	directorySize = statSize + 120
	objectsSize   = 128 // more than any of the three
)

// objectKinds are the calls that tell how many objects of a kind there are, and where in
// their structures (shmctl(2), semctl(2), msgctl(2)).
var objectKinds = []struct {
	call    string
	command int // SHM_INFO, SEM_INFO, MSG_INFO
	offset  int // of an int: used_ids, semusz, msgpool
}{{"shmctl", 14, 0}, {"semctl", 19, 28}, {"msgctl", 12, 0}}

// maxDirectories is how many directories fit below the stack of an Init.
const maxDirectories = 12

func (i *Init) answerSize() int {
	size := len(i.Directories) * directorySize
	if i.IPC {
		size += len(objectKinds) * objectsSize
	}
	return size
}

// look writes the calls that tell what is in the namespaces, into memory below the stack
// top, and those that go on at left where there is something that nobody can look at.
func (i *Init) look(p *program, left label) {
	at := i.answerSize()
	for _, d := range i.Directories {
		p.call("newfstatat", value(^uint64(-unix.AT_FDCWD-1)), p.text(d), below(at), value(unix.AT_SYMLINK_NOFOLLOW))
		p.branchIfResult(less, 0, left)
		p.call("statfs", p.text(d), below(at-statSize))
		p.branchIfResult(less, 0, left)
		at -= directorySize
	}
	if !i.IPC {
		return
	}
	for _, k := range objectKinds {
		looked := label(k.call)
		arguments := []operand{value(0), value(k.command), below(at)}
		if k.call == "semctl" {
			arguments = slices.Insert(arguments, 1, operand(value(0)))
		}
		p.call(k.call, arguments...)
		p.branchIfResult(equal, -int8(unix.ENOSYS), looked) // the kernel has none of them
		p.branchIfResult(less, 0, left)
		p.place(looked)
		at -= objectsSize
	}
}

// inUse writes the calls that go on at left if somebody uses a mount of the cell.
func (i *Init) inUse(p *program, left label) {
	for _, m := range i.Mounts {
		// What has mounts below it is in use by these.
		if m.Type == "" || slices.ContainsFunc(i.Mounts, func(o Mount) bool { return strings.HasPrefix(o.Target, m.Target+"/") }) {
			continue
		}
		// Nobody uses a mount that can be marked as expired. A second mark without a
		// use would unmount it, and access(2) is a use.
		p.call("umount2", p.pointer(m.Target), value(unix.MNT_EXPIRE))
		p.branchIfResult(notEqual, -int8(unix.EAGAIN), left)
		p.call("faccessat", value(^uint64(-unix.AT_FDCWD-1)), p.pointer(m.Target), value(0))
	}
}

// ParseSeen reads the answer to a RequestCheck or RequestLook of an Init whose image is for this
// machine. It returns nil if something is left in the namespaces.
func (i *Init) ParseSeen(message []byte) (*Seen, error) {
	if len(message) == 1 {
		empty, err := ParseAnswer(message)
		if empty && i.answerSize() == 0 {
			return &Seen{}, nil
		}
		if empty {
			err = fmt.Errorf("an answer without what was seen")
		}
		return nil, err
	}
	if len(message) != i.answerSize() {
		return nil, fmt.Errorf("an answer of %d bytes, where %d were expected", len(message), i.answerSize())
	}
	s := &Seen{}
	for range i.Directories {
		s.Directories = append(s.Directories, Directory{structure[unix.Stat_t](message), structure[unix.Statfs_t](message[statSize:])})
		message = message[directorySize:]
	}
	for _, k := range objectKinds[:len(message)/objectsSize] {
		s.Objects += int(structure[int32](message[k.offset:]))
		message = message[objectsSize:]
	}
	return s, nil
}

// structure returns a structure of the kernel, which are bytes of this machine.
func structure[T any](bytes []byte) (s T) {
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s)), bytes)
	return s
}
