package osthread

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
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
	defer func() { // other tests have the monitor as it was
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte("0"), 0); err != nil {
			t.Error(err)
		}
	}()
	relaxed := fmt.Sprint(monitorSlack.Nanoseconds())
	for thread, slack := range slacks(t) {
		if slack != before[thread] && thread != fmt.Sprint(tid) || (slack == relaxed) != (thread == fmt.Sprint(tid)) {
			t.Errorf("thread %s has a slack of %s, had %s; the monitor is %d", thread, slack, before[thread], tid)
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
	// Nobody inherits it.
	out, err := exec.Command("/bin/cat", "/proc/self/timerslack_ns").Output()
	if err != nil {
		t.Fatal(err)
	}
	if slack := strings.TrimSpace(string(out)); slack == relaxed {
		t.Errorf("a child has a slack of %s", slack)
	}
}
