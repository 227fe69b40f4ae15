package main

import (
	"io"
	"testing"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// The limits also work in confinement, which restricts timers.
func TestLimits(t *testing.T) {
	const short = 30 * time.Millisecond
	for want, limits := range map[int]ipc.Limits{
		ipc.ExitIdle:     {Idle: short},
		ipc.ExitLifetime: {Lifetime: short, Idle: time.Hour},
	} {
		msg, err := (&ipc.Assignment{Limits: limits}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		server, client := sockettest.TCP(t)
		p := start(t, server, []string{"echo"}, msg)
		if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		client.Close()
		if r := p.report(t); len(r.Values) > 0 && r.Values[0].Key != ipc.ValueUnconfined {
			t.Errorf("report %+v", r)
		}
		if code := p.expectExit(t, ""); code != want {
			t.Errorf("exit code %s, want %s", ipc.ExitName(code), ipc.ExitName(want))
		}
	}
}
