package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
)

// A ChildList reads which children this process has.
//
// Linux keeps the children of a process for each of its threads. A thread has the
// children that it has forked. Those that it has as a subreaper, because their
// own parent has ended, belong to the main thread (find_new_reaper in
// kernel/exit.c). So a program whose main thread forks nothing has a list of
// exactly these, see LeaveMainThread, and to read an empty list takes a
// microsecond.
type ChildList struct {
	file *os.File
	text []byte // memory for its content
}

// OpenChildList opens the list of the children of the main thread. It fails where
// the kernel has none (CONFIG_PROC_CHILDREN; proc_pid_task(5), children).
func OpenChildList() (*ChildList, error) {
	file, err := os.Open(childrenFile(os.Getpid()))
	if err != nil {
		return nil, fmt.Errorf("list orphans: %w", err)
	}
	return &ChildList{file: file, text: make([]byte, 4096)}, nil
}

func childrenFile(pid int) string {
	number := strconv.Itoa(pid)
	return "/proc/" + number + "/task/" + number + "/children"
}

// Close releases the descriptor.
func (l *ChildList) Close() { l.file.Close() }

// Append appends the pids of the children to a list. A child is in the list until
// it has been reaped. One that is on its way may be missing while others end.
func (l *ChildList) Append(pids []int) []int {
	n := 0
	for {
		got, err := l.file.ReadAt(l.text[n:], int64(n))
		n += got
		if got == 0 || err != nil {
			break
		}
		if n == len(l.text) {
			l.text = append(l.text, make([]byte, n)...)
		}
	}
	for field := range bytes.FieldsSeq(l.text[:n]) {
		if pid, err := strconv.Atoi(string(field)); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Environment returns the value of a variable in the environment that a process
// had at its last exec. It fails with an error that is fs.ErrPermission where the
// kernel does not show it: that takes the same user or CAP_SYS_PTRACE. A process
// that has ended, or is in the middle of an exec, is an error, too.
func Environment(pid int, name string) (value string, found bool, err error) {
	directory := "/proc/" + strconv.Itoa(pid)
	text, err := os.ReadFile(directory + "/environ")
	if err == nil && len(text) == 0 {
		// Not even a name for it: it has no program. With one, it may have come
		// to it between the two.
		if arguments, _ := os.ReadFile(directory + "/cmdline"); len(arguments) == 0 {
			return "", false, errNoProgram
		}
		text, err = os.ReadFile(directory + "/environ")
	}
	if err != nil {
		return "", false, err
	}
	for variable := range bytes.SplitSeq(text, []byte{0}) {
		if v, ok := bytes.CutPrefix(variable, []byte(name+"=")); ok {
			return string(v), true, nil
		}
	}
	return "", false, nil
}

var errNoProgram = errors.New("the process has no program at the moment")
