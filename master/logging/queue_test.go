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

// A blockedFile is a file to which every write waits for its result.
type blockedFile struct {
	sink
	results chan writeResult
}

// A writeResult ends a write. A write that fails may write some bytes first.
type writeResult struct {
	fail  bool
	taken int
}

func newBlockedFile() *blockedFile { return &blockedFile{results: make(chan writeResult)} }

// open makes all further writes succeed at once.
func (g *blockedFile) open() { close(g.results) }

func (g *blockedFile) Write(b []byte) (int, error) {
	v := <-g.results
	if !v.fail {
		return g.sink.Write(b)
	}
	n, _ := g.sink.Write(b[:min(v.taken, len(b)-1)])
	return n, syscall.ENOSPC
}

// waitUntilWriting waits, in the time of a synctest bubble, until the goroutine
// writes what is queued.
func waitUntilWriting() {
	time.Sleep(2 * batchDelay)
	synctest.Wait()
}

func TestLineAppearsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out sink
		l := newTestLogger(&out, newJSONEncoder(), queueLimit)
		defer l.Close(time.Minute)
		for _, event := range []string{EventListening, EventAccepted} {
			l.Info(event)
			waitUntilWriting()
			if got := out.String(); !strings.Contains(got, event) {
				t.Errorf("%s is not written yet: %q", event, got)
			}
		}
	})
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := newBlockedFile()
		q := newQueue(out, newJSONEncoder(), 30)
		q.add([]byte("line 0001\n"), false)
		waitUntilWriting() // the first line is being written
		for i := 2; i <= 7; i++ {
			q.add(fmt.Appendf(nil, "line %04d\n", i), false) // 2 and 3 fit
		}
		q.add([]byte("x\n"), false) // fits no more: a gap stays in one place

		out.results <- writeResult{} // 1
		out.results <- writeResult{} // 2 and 3, in one write
		out.results <- writeResult{} // what was lost
		waitUntilWriting()
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
		out := newBlockedFile()
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
		out := newBlockedFile()
		q := newQueue(out, newJSONEncoder(), queueLimit)
		q.add([]byte("first\n"), false)
		waitUntilWriting()
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

// A step is an event of a queue: a line is added, a write gets its result, or another
// program takes over.
type step struct {
	add, takeOver bool
	length        int
	result        writeResult
}

// In every order of lines, writes, failures and programs that take over, lines come out
// whole and in order. Every line is either there or counted as lost.
func TestEveryLineIsWrittenOrCounted(t *testing.T) {
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		return step{
			add:      rapid.Bool().Draw(t, "add"),
			takeOver: rapid.IntRange(0, 4).Draw(t, "take over") == 4,
			length:   rapid.IntRange(0, 60).Draw(t, "length"),
			result: writeResult{
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

// replay runs the steps on a queue and checks what was written.
func replay(steps []step) error {
	out := newBlockedFile()
	q := newQueue(keptOpen{out}, newJSONEncoder(), 300)
	added := 0
	for _, s := range steps {
		if s.takeOver {
			q = takeOver(q)
		}
		if s.add {
			q.add(fmt.Appendf(nil, `{"n":%d,"padding":%q}`+"\n", added, strings.Repeat("x", s.length)), false)
			added++
		} else {
			select {
			case out.results <- s.result:
			default:
			}
		}
		waitUntilWriting()
	}
	out.open()
	if err := q.close(time.Minute); err != nil {
		return err
	}

	seen, missing := 0, 0
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
			missing += fields.Lines
			continue
		}
		// Lines are missing only where a line says so, and its number is right.
		if *fields.N != seen {
			return fmt.Errorf("line %d in the place of line %d in\n%s", *fields.N, seen, out.String())
		}
		seen++
	}
	if counted, _ := q.lostSoFar(); counted != int64(missing) {
		return fmt.Errorf("%d lines are counted as lost, and %d are, in\n%s", counted, missing, out.String())
	}
	if seen != added {
		return fmt.Errorf("%d of %d lines written or counted in\n%s", seen, added, out.String())
	}
	return nil
}
