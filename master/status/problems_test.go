package status

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/ledger"
	"github.com/preforkd/preforkd/master/spawner"
)

// Each problem is told, and each passes.
func TestProblems(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	number := func(n int) *int { return &n }
	for name, c := range map[string]struct {
		change func(*View)
		lost   time.Time
		want   []control.Problem
	}{
		"none": {change: func(*View) {}},
		"no control socket": {
			change: func(v *View) { v.controlError = errors.New("address already in use") },
			want:   []control.Problem{{Reason: "there is no control socket: address already in use"}},
		},
		"a failed spawn": {
			change: func(v *View) {
				v.health[0].trouble = ledger.Trouble{At: ago(time.Second), Cause: ledger.CauseOf(unix.EAGAIN)}
			},
			want: []control.Problem{{Service: "a", Reason: "the last spawn failed: out-of-processes"}},
		},
		"a spawn that failed long ago": {change: func(v *View) { v.health[0].trouble.At = ago(time.Hour) }},
		"a shortage": {
			change: func(v *View) { v.health[0].shortage = ago(time.Second) },
			want:   []control.Problem{{Service: "a", Reason: "accepting waits for descriptors, processes or memory"}},
		},
		"a shortage that has passed": {change: func(v *View) { v.health[0].shortage = ago(time.Minute) }},
		"spares that do not last": {
			change: func(v *View) { v.health[0].failing, v.health[0].missing, v.health[0].min = true, 1, 4 },
			want:   []control.Problem{{Service: "a", Reason: "1 of at least 4 spares are missing: those that were started did not last"}},
		},
		"spares that are on their way":   {change: func(v *View) { v.health[0].missing, v.health[0].min = 1, 4 }},
		"spares that are there in spite": {change: func(v *View) { v.health[0].failing, v.health[0].min = true, 4 }},
		"starts that hang": {
			change: func(v *View) {
				v.health[0].stalled = []spawner.Stall{{Program: "/net/x", Starts: 4, Since: ago(7 * time.Second)}}
			},
			want: []control.Problem{{Service: "a", Reason: "4 starts of /net/x hang, the oldest for 7s: its disk or file server does not answer"}},
		},
		"a full queue": {
			change: func(v *View) {
				v.status.Services[0].Listeners = []control.Listener{{Local: "[::]:1", Queue: number(5), Backlog: number(4)}, {Local: "unix:/x"}}
			},
			want: []control.Problem{{Service: "a", Reason: "the queue of [::]:1 is full: the kernel turns connections away"}},
		},
		"workers that are stopped": {
			change: func(v *View) { v.health[0].stopped, v.health[0].example = 2, "pid 7 by SIGTTOU" },
			want:   []control.Problem{{Service: "a", Reason: "2 workers are stopped and do nothing (pid 7 by SIGTTOU): SIGCONT lets one go on, preforkd kill ends it"}},
		},
		"idle times that nobody tells": {
			change: func(v *View) { v.health[0].idleUnknown = unix.EPERM },
			want:   []control.Problem{{Service: "a", Reason: "idle-timeout is not enforced where a worker does not: operation not permitted"}},
		},
		"channels that nobody watches": {
			change: func(v *View) { v.unwatched = unix.ENOSPC },
			want:   []control.Problem{{Reason: "messages of workers are read with a delay: no space left on device"}},
		},
		"a reload that hangs": {
			change: func(v *View) { v.reload = "a reload has been under way" },
			want:   []control.Problem{{Reason: "a reload has been under way"}},
		},
		"lost lines": {
			change: func(*View) {}, lost: ago(time.Second),
			want: []control.Problem{{Reason: "lines of the log are lost, 7 so far: nobody reads it, or its file takes no more"}},
		},
		"lines lost long ago": {change: func(*View) {}, lost: ago(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			v := &View{
				status: control.Status{Taken: now, Services: []control.Service{{Name: "a"}}},
				health: make([]health, 1),
			}
			c.change(v)
			want := append([]control.Problem{}, c.want...) // empty, and not null in JSON
			if diff := cmp.Diff(want, v.problems(7, c.lost)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
