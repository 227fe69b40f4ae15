package osthread

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
)

// slacks returns the timer slack of each thread of this process, in ns.
func slacks(t *testing.T) map[string]string {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, task := range tasks {
		slack, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		if err == nil { // it may have ended
			found[task.Name()] = strings.TrimSpace(string(slack))
		}
	}
	return found
}

func TestRelaxMonitor(t *testing.T) {
	before := slacks(t)
	if err := RelaxMonitor(); err != nil {
		needtest.Skip(t, "changes a thread's timer slack, which takes CAP_SYS_NICE: "+err.Error())
	}
	tid, err := monitor()
	if err != nil {
		t.Fatal(err)
	}
	defer tighten(t, tid)
	relaxed := fmt.Sprint(monitorSlack.Nanoseconds())
	for thread, slack := range slacks(t) {
		old, known := before[thread] // the monitor may have started others meanwhile
		if known && (slack != old) != (thread == fmt.Sprint(tid)) || thread == fmt.Sprint(tid) && slack != relaxed {
			t.Errorf("thread %s has a slack of %s, had %s; the monitor is %d", thread, slack, old, tid)
		}
	}
	// Of all threads only the monitor naps by nanosleep(2); the others wait by futex(2).
	deadline := time.Now().Add(slowtest.Scale(time.Minute))
	for napped := false; !napped; {
		if time.Now().After(deadline) {
			t.Fatalf("thread %d never naps: it is not the monitor", tid)
		}
		call, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", tid))
		if err != nil {
			needtest.Skip(t, "reads which system call a thread is in: "+err.Error())
		}
		napped = strings.HasPrefix(string(call), fmt.Sprintf("%d ", unix.SYS_NANOSLEEP))
	}
}

// tighten gives the monitor the slack that it had. Threads that it has started may have
// another one still, so the usual slack stays known.
func tighten(t *testing.T, monitor int) {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", monitor), []byte("0"), 0); err != nil {
		t.Error(err)
	}
}

// When system calls wait, the monitor starts threads, which inherit its slack. A Thread
// does not hand that on to what it starts.
func TestNobodyInheritsSlack(t *testing.T) {
	if err := RelaxMonitor(); err != nil {
		needtest.Skip(t, "changes a thread's timer slack, which takes CAP_SYS_NICE: "+err.Error())
	}
	tid, err := monitor()
	if err != nil {
		t.Fatal(err)
	}
	defer tighten(t, tid)
	relaxed := fmt.Sprint(monitorSlack.Nanoseconds())
	var waiting sync.WaitGroup
	defer waiting.Wait()
	inherited := func() (n int) {
		for _, slack := range slacks(t) {
			if slack == relaxed {
				n++
			}
		}
		return n - 1 // the monitor
	}
	for deadline := time.Now().Add(slowtest.Scale(time.Minute)); inherited() < 10; {
		if time.Now().After(deadline) {
			t.Fatal("the monitor starts no threads")
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pipe[1])
		waiting.Go(func() {
			defer unix.Close(pipe[0])
			_, _ = unix.Read(pipe[0], make([]byte, 1)) // blocks a thread
		})
		time.Sleep(time.Millisecond)
	}
	for range 20 {
		thread, err := Start(func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		defer thread.Close()
		var out []byte
		thread.Do(func() { out, err = exec.Command("/bin/cat", "/proc/self/timerslack_ns").Output() })
		if err != nil {
			t.Fatal(err)
		}
		if slack := strings.TrimSpace(string(out)); slack != fmt.Sprint(usualSlack.Load()) {
			t.Fatalf("a child has a slack of %s ns, want %d", slack, usualSlack.Load())
		}
	}
}

// childSlack returns the timer slack of a process that start starts, in ns.
func childSlack(t *testing.T, start func(func() error) error) string {
	t.Helper()
	var out strings.Builder
	cmd := exec.Cmd{Path: "/bin/cat", Args: []string{"cat", "/proc/self/timerslack_ns"}, Stdout: &out}
	if err := start(cmd.Start); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out.String())
}

// What a process has depends on how it was started, and not on the thread, and the
// thread has the usual slack afterwards.
func TestStartOnAThreadOfTheMonitor(t *testing.T) {
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	usual := strings.TrimSpace(string(own))
	if err := RelaxMonitor(); err == nil { // without CAP_SYS_NICE processes are started so all the same
		tid, err := monitor()
		if err != nil {
			t.Fatal(err)
		}
		defer tighten(t, tid)
	}
	relaxed := fmt.Sprint(monitorSlack.Nanoseconds())
	for name, c := range map[string]struct {
		start func(func() error) error
		want  string
	}{
		"usual":   {StartUsual, usual},
		"relaxed": {StartRelaxed, relaxed},
		"own":     {func(start func() error) error { return StartWith(time.Millisecond, start) }, "1000000"},
		"least":   {func(start func() error) error { return StartWith(1, start) }, "1"},
		"failed": {func(start func() error) error {
			if err := StartRelaxed(func() error { return os.ErrNotExist }); err != os.ErrNotExist {
				t.Errorf("StartRelaxed returned %v", err)
			}
			return start()
		}, usual},
	} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			setSlack(monitorSlack.Nanoseconds())
			if got := childSlack(t, c.start); got != c.want {
				t.Errorf("a child has a slack of %s ns, want %s", got, c.want)
			}
			if got := slacks(t)[fmt.Sprint(unix.Gettid())]; got != usual {
				t.Errorf("the thread has a slack of %s ns afterwards, want %s", got, usual)
			}
		})
	}
}

// A slack that somebody else has given this program is handed on as it is.
func TestNothingIsRelaxed(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer setSlack(0) // what the thread has inherited
	defer usualSlack.Store(usualSlack.Swap(0))
	for _, start := range []func(func() error) error{StartUsual, StartRelaxed} {
		setSlack(12345)
		if got := childSlack(t, start); got != "12345" {
			t.Errorf("a child has a slack of %s ns", got)
		}
	}
	if got := childSlack(t, func(start func() error) error { return StartWith(time.Millisecond, start) }); got != "1000000" {
		t.Errorf("a child with a slack of its own has %s ns", got)
	}
	if own, err := ownSlack(); own != 12345 || err != nil {
		t.Errorf("the thread has a slack of %d ns afterwards, %v", own, err)
	}
}
