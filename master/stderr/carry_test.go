package stderr

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/carry/carrytest"
)

// outputs returns Outputs whose own stderr is no device.
func outputs(t *testing.T) (*Outputs, *sink) {
	t.Helper()
	own, err := os.Create(t.TempDir() + "/stderr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { own.Close() })
	to := &sink{}
	return NewOutputs(own, to.add, itself, func(err error) { t.Logf("reopened: %v", err) }), to
}

// A worker that is in the middle of a line ends it for the next program, which knows what
// it wrote before.
func TestRelaysGoOver(t *testing.T) {
	o, to := outputs(t)
	file, err := o.Inherit()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.Discard(); err != nil {
		t.Fatal(err)
	}
	in, gate, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := exec.Command("/bin/sh", "-c", "echo first >&2; printf half >&2; read line; echo ' a line' >&2; printf last >&2")
	cmd.Stdin, cmd.Stderr = in, file
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	inherit := o.inherit.Load()
	slowtest.Await(t, "half a line", func() bool {
		inherit.mu.Lock()
		defer inherit.mu.Unlock()
		w := inherit.byLeader[cmd.Process.Pid]
		return w != nil && w.lines.Pending()
	})

	o.Pause()
	d := carry.NewDescriptors()
	before, err := o.Export(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := gate.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	gate.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // time for who would read
	state, copies := carrytest.Again(t, &before, d)
	next, more := outputs(t)
	if err := next.Restore(state, copies); err != nil {
		t.Fatal(err)
	}
	after, err := next.Export(carry.NewDescriptors())
	if err != nil {
		t.Fatal(err)
	}
	carrytest.Same(t, after, *state)
	next.Resume()
	if tail, want := next.Take(cmd.Process.Pid, time.Time{}), "first\nhalf a line\nlast"; tail != want {
		t.Errorf("the last lines are %q, want %q", tail, want)
	}
	if text := to.text() + "|" + more.text(); text != "first\n|half a line\nlast\n" {
		t.Errorf("the lines are %q", text)
	}
	if again, err := next.Inherit(); err != nil || again != next.inherit.Load().File() {
		t.Errorf("workers get another socket, %v", err)
	}
	next.Close()
	o.Resume()
	o.Close()
}

// What was paused is read afterwards.
func TestResume(t *testing.T) {
	o, to := outputs(t)
	if _, err := o.Inherit(); err != nil {
		t.Fatal(err)
	}
	o.Pause()
	run(t, o.inherit.Load(), "echo line >&2")
	time.Sleep(20 * time.Millisecond) // time for who would read
	if text := to.text(); text != "" {
		t.Errorf("%q was read", text)
	}
	o.Resume()
	slowtest.Await(t, "the line", func() bool { return to.text() == "line\n" })
	o.Close()
}

func TestRestoreErrors(t *testing.T) {
	writers := func(leaders ...int) (all []WriterState) {
		for _, leader := range leaders {
			all = append(all, WriterState{Leader: leader})
		}
		return all
	}
	for name, test := range map[string]struct {
		state RelayState
		want  string
	}{
		"descriptor": {RelayState{End: 9000, File: 9009}, "9009"},
		"none":       {RelayState{End: carry.None, File: 9000}, "without a descriptor"},
		"leader":     {RelayState{End: 9000, File: 9001, Writers: writers(0)}, "pid 0"},
		"twice":      {RelayState{End: 9000, File: 9001, Writers: writers(7, 7)}, "two writers"},
		"too many":   {RelayState{End: 9000, File: 9001, Writers: make([]WriterState, maxWriters+1)}, "at most"},
		"line":       {RelayState{End: 9000, File: 9001, Writers: []WriterState{{Leader: 7, Line: LinesState{Line: bytes.Repeat([]byte("x"), MaxLine+1)}}}}, "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := outputs(t)
			d := carry.NewDescriptors() // which are only numbers
			d.Keep(9000)
			d.Keep(9001)
			if err := o.Restore(&OutputsState{Inherit: &test.state}, d); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// Lines and tails are what they were.
func TestLinesAndTailsGoOver(t *testing.T) {
	var l Lines
	l.Add(bytes.Repeat([]byte("y"), MaxLine+7), func([]byte, bool) { t.Error("there is no end") })
	state := l.Export()
	var again Lines
	if err := again.Restore(&state); err != nil {
		t.Fatal(err)
	}
	carrytest.Same(t, again.Export(), state)
	var cut bool
	again.Add([]byte("\n"), func(line []byte, c bool) { cut = c })
	if !cut {
		t.Error("that a line was cut was forgotten")
	}
	var tail Tail
	now := time.Now()
	for i := range 9 {
		tail.Add([]byte{'a' + byte(i), 0xff}, now.Add(time.Duration(i)*time.Second))
	}
	next := RestoreTail(tail.Export())
	if got, want := next.Since(now.Add(6*time.Second)), tail.Since(now.Add(6*time.Second)); got != want {
		t.Errorf("the tail is %q, want %q", got, want)
	}
	carrytest.Same(t, next.Export(), tail.Export())
}
