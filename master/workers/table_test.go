package workers

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/process"
)

// TestTableLosesNoExit plays spawns, exits, strangers and pid reuse in every
// order that the kernel and the goroutines allow, and holds that each worker is
// reported as ended exactly once, with its own exit and not before it ended.
func TestTableLosesNoExit(t *testing.T) {
	type child struct {
		w      *Worker
		serial int64 // tells its exit from all others: carried in the usage
		heard  bool  // the loop has heard of the spawn
		gone   bool  // reaped
		shares bool  // another spawn under way has had the same pid
	}
	rapid.Check(t, func(t *rapid.T) {
		table := newTable()
		alive := map[int]*child{} // by pid: what the kernel has
		var pending []*child      // spawned, the loop has not heard
		pids := map[*child]int{}
		spawning := 0 // begun, outcome not heard: those in pending and those not born yet
		var serial int64
		ended := map[*Worker]int64{}

		pid := rapid.IntRange(1, 3) // few, so that they are used again at once
		exit := func(p int, serial int64) process.Exit {
			e := process.Exit{Pid: p}
			e.Usage.Minflt = serial
			return e
		}
		finish := func(t *rapid.T, w *Worker, e process.Exit) {
			if _, twice := ended[w]; twice {
				t.Fatalf("a worker ended twice")
			}
			ended[w] = e.Usage.Minflt
		}
		drop := func() {
			table.dropEarlyExits(spawning > 0)
		}
		all := []*child{}
		t.Repeat(map[string]func(*rapid.T){
			"begin a spawn": func(*rapid.T) { spawning++ },
			"child is born": func(t *rapid.T) {
				p := pid.Draw(t, "pid")
				if alive[p] != nil || spawning == len(pending) {
					t.Skip("pid in use or no spawn begun")
				}
				serial++
				c := &child{w: &Worker{}, serial: serial}
				alive[p], pids[c] = c, p
				for _, other := range pending {
					if pids[other] == p {
						c.shares, other.shares = true, true
					}
				}
				pending, all = append(pending, c), append(all, c)
			},
			"spawn fails": func(t *rapid.T) {
				if spawning == len(pending) {
					t.Skip("no spawn begun")
				}
				spawning--
				drop()
			},
			"loop hears of a spawn": func(t *rapid.T) {
				if len(pending) == 0 {
					t.Skip("none pending")
				}
				i := rapid.IntRange(0, len(pending)-1).Draw(t, "which")
				c := pending[i]
				pending = append(pending[:i:i], pending[i+1:]...)
				c.heard = true
				if e, over := table.started(c.w, pids[c], func() bool { return c.gone }); over {
					finish(t, c.w, e)
				}
				spawning--
				drop()
			},
			"child ends and is reaped": func(t *rapid.T) {
				p := pid.Draw(t, "pid")
				c := alive[p]
				if c == nil {
					t.Skip("no such child")
				}
				delete(alive, p)
				c.gone = true
				defer drop()
				if w := table.exited(exit(p, c.serial)); w != nil {
					finish(t, w, exit(p, c.serial))
				}
			},
			"an unknown child is reaped": func(t *rapid.T) {
				p := pid.Draw(t, "pid")
				if alive[p] != nil {
					t.Skip("pid in use")
				}
				serial++
				for _, c := range pending {
					if pids[c] == p && c.gone {
						// The pid would have to come round within one spawn.
						t.Skip("pid just used")
					}
				}
				defer drop()
				if w := table.exited(exit(p, serial)); w != nil {
					t.Fatal("an unknown exit was taken for a worker's")
				}
			},
			"": func(t *rapid.T) {
				live := 0
				for _, c := range all {
					got, over := ended[c.w]
					if want := c.heard && c.gone; over != want {
						t.Fatalf("heard %v, gone %v, ended %v", c.heard, c.gone, over)
					}
					if over && got != c.serial && !c.shares {
						t.Fatalf("a worker got the exit of another process")
					}
					if c.heard && !c.gone {
						live++
					}
				}
				if live != len(table.workers) {
					t.Fatalf("%d workers in the table, %d alive", len(table.workers), live)
				}
				if spawning == 0 && len(table.earlyExits) > 0 {
					t.Fatalf("%d exits kept with no spawn under way", len(table.earlyExits))
				}
			},
		})
	})
}

// Unknown exits cost the table nothing in the long run, however long a start takes.
func TestTableForgetsUnknownExits(t *testing.T) {
	table := newTable()
	forgotten := 0
	for pid := range 10 * maxEarlyExits {
		table.exited(process.Exit{Pid: pid})
		forgotten += len(table.dropEarlyExits(true))
		if len(table.earlyExits) > maxEarlyExits {
			t.Fatalf("%d exits kept", len(table.earlyExits))
		}
	}
	if forgotten += len(table.dropEarlyExits(false)); forgotten != 10*maxEarlyExits {
		t.Errorf("%d of %d unknown exits reported", forgotten, 10*maxEarlyExits)
	}
}
