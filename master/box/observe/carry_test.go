package observe

import (
	"encoding/json"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/box/seccomp"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
)

// aJudge is one that allows everything.
func aJudge(t testing.TB) *seccomp.Judge {
	t.Helper()
	judge, err := seccomp.NewJudge([]unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW}})
	if err != nil {
		t.Fatal(err)
	}
	return judge
}

// paused returns an Observer that stands still and touches nothing.
func paused(t testing.TB) *Observer {
	t.Helper()
	o, err := NewPaused(-1, func() {})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// forget ends an Observer whose descriptors are none.
func (o *Observer) forget() {
	o.mu.Lock()
	o.listeners, o.condemned = nil, nil
	o.mu.Unlock()
	o.Close()
}

// notOpen is a number that no descriptor of the test has.
const notOpen = 1 << 24

// Whatever an Observer knows, the next one knows the same.
func TestCarry(t *testing.T) {
	judge := aJudge(t)
	rapid.Check(t, func(r *rapid.T) {
		o := paused(t)
		defer o.forget()
		numbers := rapid.IntRange(0, 4)
		var subjects []*Subject
		for range numbers.Draw(r, "subjects") + 1 {
			s := &Subject{Kill: rapid.Bool().Draw(r, "kill")}
			if rapid.Bool().Draw(r, "judged") {
				s.Judge = judge
			}
			number := o.Add(s)
			subjects = append(subjects, s)
			if rapid.Bool().Draw(r, "removed") {
				o.Remove(number)
			}
		}
		for i := range numbers.Draw(r, "processes") {
			one := &told{killed: rapid.Bool().Draw(r, "killed"), over: rapid.Bool().Draw(r, "over")}
			for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"mount", "swapoff"}), 0, 3).Draw(r, "denied") {
				one.add(name)
			}
			if !rapid.Bool().Draw(r, "taken") {
				o.processes[i+2] = one
			}
			if !one.over {
				o.listeners[notOpen+i] = &listener{notOpen + i, rapid.SampledFrom(subjects).Draw(r, "subject"), one}
			}
		}
		for i := range numbers.Draw(r, "condemned") {
			o.condemned[notOpen+100+i] = condemned{until: time.Now().Add(time.Hour)}
		}
		d := carry.NewDescriptors()
		state := o.Export(d)
		again, taken := carrytest.Again(t, &state, d)
		next, err := Restore(again, taken, -1, func() {})
		if err != nil {
			t.Fatal(err)
		}
		defer next.forget()
		if left := taken.Untaken(); len(left) > 0 {
			t.Errorf("nobody has taken %v", left)
		}
		carrytest.Same(t, next.Export(carry.NewDescriptors()), state)
		if number := next.Add(&Subject{}); number != o.Add(&Subject{}) {
			t.Error("the next Subject has another number")
		}
	})
}

// A process that was to end by SIGSYS, and ignores it, is killed after the Observer went over.
func TestCondemnedGoesOver(t *testing.T) {
	pidfd, end := sleeper(t)
	o := paused(t)
	o.condemned[pidfd] = condemned{until: time.Now()}
	d := carry.NewDescriptors()
	state := o.Export(d)
	o.forget()
	events, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(events)
	again, taken := carrytest.Again(t, &state, d)
	next, err := Restore(again, taken, events, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Resume(); err != nil {
		t.Fatal(err)
	}
	if signal := end(); signal != unix.SIGKILL {
		t.Errorf("it ends by %v", signal)
	}
	next.Close()
}

// sleeper starts a process, and returns a pidfd and what waits for its end.
func sleeper(t *testing.T) (pidfd int, end func() unix.Signal) {
	t.Helper()
	cmd := exec.Command(needtest.Program(t, "sleep"), "1000000")
	cmd.SysProcAttr = &syscall.SysProcAttr{PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return pidfd, func() unix.Signal {
		_ = cmd.Wait()
		return cmd.ProcessState.Sys().(syscall.WaitStatus).Signal()
	}
}

// What is no state is an error.
func TestRestoreRefuses(t *testing.T) {
	d := carry.NewDescriptors()
	d.Keep(notOpen)
	for name, s := range map[string]State{
		"a number twice":          {Subjects: []SubjectState{{Number: 1}, {Number: 1}}},
		"a judge that is none":    {Subjects: []SubjectState{{Number: 1, Judge: []byte("judge")}}},
		"a pid twice":             {Processes: []ProcessState{{PID: 1}, {PID: 1}}},
		"a listener of nobody":    {Listeners: []ListenerState{{FD: notOpen}}},
		"a listener that is shut": {Subjects: []SubjectState{{}}, Processes: []ProcessState{{}}, Listeners: []ListenerState{{FD: carry.None}}},
		"a stranger":              {Condemned: []CondemnedState{{PIDFD: notOpen + 1}}},
	} {
		if o, err := Restore(&s, d, -1, func() {}); err == nil {
			o.forget()
			t.Errorf("%s: no error", name)
		}
	}
}

// Any state is an Observer or an error.
func FuzzRestore(f *testing.F) {
	f.Add([]byte(`{"next":1,"subjects":[{"number":1,"kill":true,"judge":"BgAAAAAA/38="}],"processes":[{"pid":3,"denied":["mount"]}],"listeners":[{"fd":16777216,"subject":0,"process":0}],"condemned":[{"pidfd":16777217,"until":5}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s State
		if json.Unmarshal(text, &s) != nil {
			return
		}
		d := carry.NewDescriptors()
		d.Keep(notOpen)
		d.Keep(notOpen + 1)
		o, err := Restore(&s, d, -1, func() {})
		if err != nil {
			return
		}
		for _, one := range o.subjects {
			one.judge(&systemCall{Number: 1})
		}
		o.Export(carry.NewDescriptors())
		o.forget()
	})
}
