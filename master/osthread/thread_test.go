package osthread

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// helper is the environment variable that makes this program a helper process.
const helper = "OSTHREAD_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helper) {
	case "main":
		startOnMain()
		return
	case "capability":
		withoutCapability()
	case "exec":
		execRelaxed()
		return
	case "file":
		execFile()
	case "executed":
		afterExecFile()
		return
	}
	goleak.VerifyTestMain(m)
}

// ownDirectory gives a thread its own working directory, and changes it.
func ownDirectory(dir string) func() error {
	return func() error {
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return err
		}
		return unix.Chdir(dir)
	}
}

func directory(t *testing.T) string {
	t.Helper()
	dir := make([]byte, 1024)
	n, err := unix.Getcwd(dir)
	if err != nil {
		t.Error(err)
		return ""
	}
	return unix.ByteSliceToString(dir[:n])
}

func exists(tid int) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid))
	return err == nil
}

// waitGone waits until the kernel has ended a thread.
func waitGone(t *testing.T, tid int) {
	t.Helper()
	slowtest.Await(t, fmt.Sprintf("thread %d ends", tid), func() bool { return !exists(tid) })
}

// Every call sees the state that setup made, on one thread, and the rest of the
// process keeps its own. The thread ends with Close.
func TestStateOfItsOwn(t *testing.T) {
	before := directory(t)
	thread, err := Start(ownDirectory("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	threads := map[int]bool{}
	for range 20 {
		thread.Do(func() {
			threads[unix.Gettid()] = true
			if got := directory(t); got != "/proc" {
				t.Errorf("a call is in %s, want /proc", got)
			}
		})
	}
	if len(threads) != 1 {
		t.Errorf("20 calls ran on %d threads", len(threads))
	}
	thread.Close()
	for tid := range threads {
		waitGone(t, tid)
	}
	if now := directory(t); now != before {
		t.Errorf("the process is in %s, was in %s", now, before)
	}
}

// No other goroutine ever runs on a thread that has state of its own. That
// holds while the thread waits for calls, after a failed setup, and after
// Close.
func TestNobodyElseSeesTheState(t *testing.T) {
	before := directory(t)
	idle, err := Start(ownDirectory("/proc"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	var ended []int
	for _, fail := range []error{errors.New("setup fails"), nil} {
		var tid int
		thread, err := Start(func() error {
			tid = unix.Gettid()
			return errors.Join(ownDirectory("/sys")(), fail)
		})
		if (thread == nil) != (fail != nil) || !errors.Is(err, fail) {
			t.Fatalf("Start: %v, %v; want the error %v", thread, err, fail)
		}
		if thread != nil {
			thread.Close()
		}
		ended = append(ended, tid)
		if err := Run(func() error {
			tid = unix.Gettid()
			return errors.Join(ownDirectory("/sys")(), fail)
		}); !errors.Is(err, fail) {
			t.Fatalf("Run: %v, want %v", err, fail)
		}
		ended = append(ended, tid)
	}
	// Locked goroutines that wait for each other occupy every thread there is.
	var all, done sync.WaitGroup
	const n = 30
	all.Add(n)
	for range n {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			all.Done()
			all.Wait()
			if got := directory(t); got != before {
				t.Errorf("a goroutine is in %s, want %s", got, before)
			}
		})
	}
	done.Wait()
	for _, tid := range ended {
		waitGone(t, tid)
	}
}

// Calls by many goroutines run one at a time.
func TestOneCallAtATime(t *testing.T) {
	thread, err := Start(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer thread.Close()
	var done sync.WaitGroup
	count := 0 // without a lock, so the race detector watches
	for range 50 {
		done.Go(func() { thread.Do(func() { count++ }) })
	}
	done.Wait()
	if count != 50 {
		t.Errorf("%d of 50 calls have run", count)
	}
}

// startOnMain is the helper process of TestNotTheMainThread. The main goroutine
// runs on the main thread. With one processor the goroutine that it starts runs
// there next, as soon as the main goroutine waits.
func startOnMain() {
	runtime.GOMAXPROCS(1)
	main := 0
	for range 100 {
		var tid int
		thread, err := Start(func() error { tid = unix.Gettid(); return nil })
		if err != nil {
			panic(err)
		}
		if tid == unix.Getpid() {
			main++
		}
		thread.Close()
		if err := Run(func() error { tid = unix.Gettid(); return nil }); err != nil {
			panic(err)
		}
		if tid == unix.Getpid() {
			main++
		}
	}
	fmt.Println(main, "on the main thread")
}

func TestNotTheMainThread(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helper+"=main")
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "0 on the main thread\n" {
		t.Errorf("%v: %s", err, out)
	}
}
