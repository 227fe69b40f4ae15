package logging

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// A gate is a file whose reader stands still: every write waits for a verdict.
type gate struct {
	sink
	verdicts chan verdict
}

// A verdict lets a write go on. A failing write takes some bytes first.
type verdict struct {
	fail  bool
	taken int
}

func newGate() *gate { return &gate{verdicts: make(chan verdict)} }

// open lets all writes through from now on.
func (g *gate) open() { close(g.verdicts) }

func (g *gate) Write(b []byte) (int, error) {
	v := <-g.verdicts
	if !v.fail {
		return g.sink.Write(b)
	}
	n, _ := g.sink.Write(b[:min(v.taken, len(b)-1)])
	return n, syscall.ENOSPC
}

// settle waits, in a bubble's own time, until all that was queued is on its way
// to the file.
func settle() {
	time.Sleep(2 * gatherFor)
	synctest.Wait()
}

func TestLineAppearsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		l := newTestLogger(&out, newJSONEncoder(), queueLimit)
		defer l.Close(time.Minute)
		for _, event := range []string{EventListening, EventAccepted} {
			l.Info(event)
			settle()
			if got := out.String(); !strings.Contains(got, event) {
				t.Errorf("%s is not written yet: %q", event, got)
			}
		}
	})
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newGate()
		q := newQueue(out, newJSONEncoder(), 30)
		q.add([]byte("line 0001\n"), false)
		settle() // the first line is being written
		for i := 2; i <= 7; i++ {
			q.add(fmt.Appendf(nil, "line %04d\n", i), false) // 2 and 3 fit
		}
		q.add([]byte("x\n"), false) // fits no more: a gap stays in one place

		out.verdicts <- verdict{} // 1
		out.verdicts <- verdict{} // 2 and 3, in one write
		out.verdicts <- verdict{} // what was lost
		settle()
		q.add([]byte("line 0008\n"), false)
		out.open()
		if err := q.close(time.Minute); err != nil {
			t.Error(err)
		}
		got := strings.Split(out.String(), "\n")
		if len(got) != 6 || got[0] != "line 0001" || got[1] != "line 0002" || got[2] != "line 0003" ||
			!strings.Contains(got[3], `"level":"warn"`) || !strings.HasSuffix(got[3], `"msg":"log lines lost","lines":5}`) ||
			got[4] != "line 0008" {
			t.Errorf("got %q", got)
		}
		if lines, last := q.lostSoFar(); lines != 5 || last.IsZero() {
			t.Errorf("%d lines were lost, the last at %v", lines, last)
		}
	})
}

func TestStoppedFindsRoomInAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newGate()
		l := newTestLogger(out, newJSONEncoder(), 200)
		for range 10 {
			l.Info(EventReaped)
		}
		l.Info(EventStopped)
		out.open()
		if err := l.Close(time.Minute); err != nil {
			t.Error(err)
		}
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		n := len(lines)
		if n < 3 || !strings.Contains(lines[n-2], eventLinesLost) || !strings.Contains(lines[n-1], EventStopped) {
			t.Errorf("got %q", lines)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newGate()
		q := newQueue(out, newJSONEncoder(), queueLimit)
		q.add([]byte("first\n"), false)
		settle()
		q.add([]byte("second\n"), false)
		err := q.close(3 * time.Second)
		if want := "close the log: 13 bytes not written within 3s"; err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
		q.add([]byte("late\n"), false)
		out.open() // the reader comes back: what was queued is still written
		if err := q.close(time.Minute); err != nil {
			t.Error(err)
		}
		if got := out.String(); got != "first\nsecond\n" {
			t.Errorf("got %q", got)
		}
	})
}

// A step is one of the things that happen to a queue: a line is added, or a
// write that waits, if there is one, gets its verdict.
type step struct {
	add     bool
	length  int
	verdict verdict
}

// Whatever the order of lines, writes and failures: lines come out whole and
// in order, and every line is either there or counted.
func TestEveryLineIsWrittenOrCounted(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			add:    rapid.Bool().Draw(t, "add"),
			length: rapid.IntRange(0, 60).Draw(t, "length"),
			verdict: verdict{
				fail:  rapid.Bool().Draw(t, "fail"),
				taken: rapid.IntRange(0, 200).Draw(t, "taken"),
			},
		}
	}), 0, 60)
	rapid.Check(t, func(rt *rapid.T) {
		history := steps.Draw(rt, "steps")
		var err error
		synctest.Test(t, func(*testing.T) { err = replay(history) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// replay takes a queue through the steps and looks at what was written.
func replay(steps []step) error {
	out := newGate()
	q := newQueue(out, newJSONEncoder(), 300)
	added := 0
	for _, s := range steps {
		if s.add {
			q.add(fmt.Appendf(nil, `{"n":%d,"padding":%q}`+"\n", added, strings.Repeat("x", s.length)), false)
			added++
		} else {
			select {
			case out.verdicts <- s.verdict:
			default:
			}
		}
		settle()
	}
	out.open()
	if err := q.close(time.Minute); err != nil {
		return err
	}

	seen := 0
	for line := range strings.Lines(out.String()) {
		var fields struct {
			N     *int
			Lines int
		}
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			return fmt.Errorf("%q: %w", line, err)
		}
		if fields.N == nil {
			seen += fields.Lines
			continue
		}
		// Lines are missing only where a line says so, and as many.
		if *fields.N != seen {
			return fmt.Errorf("line %d in the place of line %d in\n%s", *fields.N, seen, out.String())
		}
		seen++
	}
	if seen != added {
		return fmt.Errorf("%d of %d lines written or counted in\n%s", seen, added, out.String())
	}
	return nil
}
