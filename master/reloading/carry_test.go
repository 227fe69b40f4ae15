package reloading

import (
	"testing"
	"time"
)

func TestCarriedFailureStaysUntilTheNextReload(t *testing.T) {
	q := New("")
	q.SetFailure("no such key")
	q.Begin(nil, time.Now())
	q.End()
	state := q.Export()
	again := Restore(&state, "")
	if again.Failure() != "no such key" || again.Export() != state || again.UnderWay() || again.Problem() != "" {
		t.Errorf("%+v has become %+v", state, again)
	}
	again.Begin(nil, time.Now())
	again.End()
	again.SetFailure("")
	if again.Failure() != "" || again.Export() != (State{}) {
		t.Errorf("the failure %q is still there", again.Failure())
	}
}
