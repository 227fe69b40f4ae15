package signals

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/signals/early"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// envExecs has the program of the test be one that executes itself as often.
const envExecs = "PREFORKD_TEST_EXECS"

func TestMain(m *testing.M) {
	if n, err := strconv.Atoi(os.Getenv(envExecs)); err == nil {
		actAndExecute(n)
		return
	}
	os.Exit(m.Run())
}

// actAndExecute says which signals it acts on, and executes itself in the midst of it. One
// that fails to is tried every other time.
func actAndExecute(execs int) {
	q := Catch()
	go spin() // so that there are several threads
	for {
		fmt.Println("serving", execs)
		timer := time.After(time.Duration(rand.N(4000)) * time.Microsecond)
	acting:
		for {
			select {
			case sig := <-q.Next():
				fmt.Println("acted", unix.SignalName(sig))
				if sig == unix.SIGTERM {
					return
				}
			case <-timer:
				break acting
			}
		}
		runtime.LockOSThread()
		h, err := q.Hold()
		if err != nil {
			fmt.Println("error", err)
			return
		}
		if time.Sleep(time.Duration(rand.N(300)) * time.Microsecond); rand.N(3) > 0 {
			os.Setenv(envExecs, strconv.Itoa(execs+1))
			self, err := os.Open("/proc/self/exe")
			if err == nil {
				err = osthread.ExecFile(self, os.Args, append(os.Environ(), h.Environment()))
			}
			fmt.Println("error", err)
		}
		h.Release()
		runtime.UnlockOSThread()
	}
}

func spin() {
	for {
		var ts [8]int
		for i := range ts {
			go func() { ts[i]++; time.Sleep(time.Millisecond) }()
		}
		time.Sleep(100 * time.Microsecond)
	}
}

// Every signal is acted on once that comes at any time around an exec, or around one that
// fails.
func TestSignalsSurviveAnExec(t *testing.T) {
	if !awaitHandlers() {
		needtest.SkipAnywhere(t, "with cgo, Go does not say when the last handler has ended")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), envExecs+"=0")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	said := make(chan string, 1000)
	go func() {
		defer close(said)
		for s := bufio.NewScanner(out); s.Scan(); {
			said <- s.Text()
		}
	}()
	deadline := time.After(slowtest.Scale(20 * time.Second))
	execs := 0
	// await waits until the process acts on a signal. readAgain says that a program which
	// begins to serve is as good.
	await := func(sig unix.Signal, readAgain bool) {
		t.Helper()
		for {
			select {
			case line, open := <-said:
				n, serves := strings.CutPrefix(line, "serving ")
				switch {
				case line == "acted "+unix.SignalName(sig):
					return
				case !open:
					t.Fatalf("%s has ended the process: %v", unix.SignalName(sig), cmd.Wait())
				case !serves:
					t.Fatalf("%q after %s", line, unix.SignalName(sig))
				}
				if now, _ := strconv.Atoi(n); now > execs {
					execs = now
					if readAgain {
						return
					}
				}
			case <-deadline:
				t.Fatalf("%s was lost after exec %d", unix.SignalName(sig), execs)
			}
		}
	}
	if line := <-said; line != "serving 0" {
		t.Fatal(line)
	}
	sent := []unix.Signal{unix.SIGUSR1, unix.SIGUSR2}
	for i := range 400 {
		sig := sent[i%len(sent)]
		// What a program in Go ignores does not end it either.
		for _, sig := range []unix.Signal{unix.SIGPIPE, sig} {
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
		}
		await(sig, false)
		time.Sleep(time.Duration(rand.N(1000)) * time.Microsecond)
	}
	if execs < 20 {
		t.Errorf("only %d execs: nothing is shown", execs)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for line := range said {
		if !strings.HasPrefix(line, "serving ") {
			t.Errorf("%q after the last signal", line)
		}
	}
}

// What has come before an exec and nobody has acted on goes over.
func TestTakenGoesOver(t *testing.T) {
	q := Catch()
	defer q.close()
	q.caught <- unix.SIGHUP
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := q.Hold()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGINT} {
		if err := unix.Kill(os.Getpid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	variable := h.Environment()
	h.Release()
	for range 3 {
		<-q.Next()
	}
	if want := early.EnvSignals + "=1,2,15"; variable != want {
		t.Errorf("%s, want %s", variable, want)
	}
	t.Setenv(early.EnvSignals, "15,1,15,x,9,")
	signals := inherited()
	if want := []unix.Signal{unix.SIGTERM, unix.SIGHUP}; !slices.Equal(signals, want) {
		t.Errorf("%v; want %v", signals, want)
	}
	if signals := inherited(); len(signals) > 0 {
		t.Errorf("%v the second time", signals)
	}
}

// After a Hold that nothing came of every thread takes the signals again, whatever has
// come meanwhile, and what the queue has had is acted on.
func TestRelease(t *testing.T) {
	q := Catch()
	defer q.close()
	q.caught <- unix.SIGUSR2
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	h, err := q.Hold()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if err := unix.Kill(os.Getpid(), unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	_ = h.Environment()
	h.Release()
	got := map[unix.Signal]bool{}
	for range 2 {
		select {
		case sig := <-q.Next():
			got[sig] = true
		case <-time.After(slowtest.Scale(10 * time.Second)):
			t.Fatal("a signal is lost")
		}
	}
	if !got[unix.SIGUSR1] || !got[unix.SIGUSR2] {
		t.Errorf("got %v", got)
	}
	usr1 := uint64(1) << (unix.SIGUSR1 - 1)
	slowtest.Await(t, "no thread blocks SIGUSR1", func() bool {
		files, _ := filepath.Glob("/proc/self/task/*/status")
		for _, file := range files {
			status, _ := os.ReadFile(file) // the thread may be gone
			_, mask, _ := strings.Cut(string(status), "SigBlk:")
			mask, _, _ = strings.Cut(mask, "\n")
			if set, err := strconv.ParseUint(strings.TrimSpace(mask), 16, 64); err == nil && set&usr1 != 0 {
				return false
			}
		}
		return len(files) > 0
	})
}
