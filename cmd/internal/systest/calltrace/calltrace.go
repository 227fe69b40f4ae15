package calltrace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// A Process is one that is traced.
type Process struct {
	PID      int
	Executed int      // how many programs it has executed since it is traced
	Parent   *Process // nil of the first one
	// Born is Parent.Executed when the process was first seen.
	Born int
}

// A Call is a system call that a process is about to make.
type Call struct {
	Process *Process
	Name    string // "255" for the number of a call that has no name here
	Args    [6]uint64
}

// A trace has what is known of what it traces.
type trace struct {
	decide    func(Call) unix.Errno
	processes map[int]*Process
	threads   map[int]*Process
	// faulty is the thread whose call fails, 0 if none does yet, and fault is the error.
	faulty int
	fault  unix.Errno
}

const (
	options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
		unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC
	// callStop is the signal of a stop at a call, with PTRACE_O_TRACESYSGOOD.
	callStop = unix.SIGTRAP | 0x80
)

// Run traces all threads of a process, and whom it starts from then on. It calls attached
// when it does, and then decide before each call, which fails with what that returns unless
// it is 0. Run returns when one has failed, or when all have ended.
//
// The caller's process must not be the parent of the other one: whatever waits there for its
// child would take what is meant for the tracer. When the caller's process ends, what it
// traces goes on. It should end soon after Run.
func Run(pid int, attached func(), decide func(Call) unix.Errno) error {
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	t := &trace{
		decide:    decide,
		processes: map[int]*Process{pid: {PID: pid}},
		threads:   map[int]*Process{},
	}
	if err := t.attach(pid); err != nil {
		return err
	}
	attached()
	return t.run()
}

func (t *trace) attach(pid int) error {
	for found := true; found; {
		found = false
		tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
		if err != nil {
			return err
		}
		for _, task := range tasks {
			tid, err := strconv.Atoi(task.Name())
			if err != nil || t.threads[tid] != nil {
				continue
			}
			if err := seize(tid); err == unix.ESRCH {
				continue // it has ended
			} else if err != nil {
				return fmt.Errorf("trace thread %d: %w", tid, err)
			}
			found = true
			t.threads[tid] = t.processes[pid]
			if err := unix.PtraceInterrupt(tid); err != nil && err != unix.ESRCH {
				return err
			}
		}
	}
	return nil
}

// run traces until a call has failed, or all have ended.
func (t *trace) run() error {
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ECHILD:
			return nil // all have ended
		case err != nil:
			return err
		}
		if status.Exited() || status.Signaled() {
			delete(t.threads, tid)
			continue
		}
		failed, err := t.stopped(tid, status)
		if failed {
			return nil
		}
		if err != nil && err != unix.ESRCH { // ESRCH: it has been killed
			return err
		}
	}
}

// stopped lets a thread go on that has stopped. It reports whether that was the end of the
// call that has failed.
func (t *trace) stopped(tid int, status unix.WaitStatus) (failed bool, err error) {
	sig := status.StopSignal()
	event := int(status>>16) & 0xff
	switch {
	case sig == callStop:
		failed, err = t.atCall(tid)
		sig = 0
	case event == unix.PTRACE_EVENT_EXEC:
		// All threads but this one have ended, and it has the number of the process.
		p := t.process(tid)
		p.Executed++
		sig = 0
	case event == unix.PTRACE_EVENT_STOP && sig != unix.SIGTRAP:
		return false, ptrace(unix.PTRACE_LISTEN, tid, 0, nil) // SIGSTOP
	case event != 0:
		sig = 0
	}
	if failed || err != nil {
		return failed, err
	}
	return false, unix.PtraceSyscall(tid, int(sig))
}

// A callInfo is struct ptrace_syscall_info.
type callInfo struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	_    [2]uint64
	Nr   uint64
	Args [6]uint64
}

func (t *trace) atCall(tid int) (failed bool, err error) {
	var raw [96]byte
	if err := ptrace(unix.PTRACE_GET_SYSCALL_INFO, tid, uintptr(len(raw)), unsafe.Pointer(&raw)); err != nil {
		return false, err
	}
	var info callInfo
	if err := binary.Read(bytes.NewReader(raw[:]), binary.NativeEndian, &info); err != nil {
		return false, err
	}
	switch {
	case info.Op == unix.PTRACE_SYSCALL_INFO_EXIT && tid == t.faulty:
		return true, setResult(tid, -int64(t.fault))
	case info.Op != unix.PTRACE_SYSCALL_INFO_ENTRY || t.faulty != 0:
		return false, nil
	}
	name, known := syscalls.Name(runtime.GOARCH, int(info.Nr))
	if !known {
		name = strconv.FormatUint(info.Nr, 10)
	}
	if errno := t.decide(Call{t.process(tid), name, info.Args}); errno != 0 {
		t.faulty, t.fault = tid, errno
		if name == "close" {
			return false, nil // it closes in any case (close(2)), and then says that it has not
		}
		return false, skip(tid)
	}
	return false, nil
}

// process returns the process of a thread.
func (t *trace) process(tid int) *Process {
	if p := t.threads[tid]; p != nil {
		return p
	}
	pid, parent := family(tid)
	p := t.processes[pid]
	if p == nil {
		p = &Process{PID: pid, Parent: t.processes[parent]}
		if p.Parent != nil {
			p.Born = p.Parent.Executed
		}
		t.processes[pid] = p
	}
	t.threads[tid] = p
	return p
}

// family returns the process of a thread and the parent of that, 0 if there is none any
// more.
func family(tid int) (pid, parent int) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	for line := range bytes.Lines(text) {
		_, _ = fmt.Sscanf(string(line), "Tgid:\t%d", &pid)
		_, _ = fmt.Sscanf(string(line), "PPid:\t%d", &parent)
	}
	return pid, parent
}

// seize begins to trace a thread, which goes on.
func seize(tid int) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, options, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

func ptrace(request, tid int, address uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(tid), address, uintptr(data), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
