package slowtest

import (
	"testing"
	"testing/synctest"
	"time"
)

// A recorder is a test that notes that it has failed, and goes on to its end.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper() {}

func (r *recorder) Fatalf(string, ...any) {
	r.failed = true
	panic(r)
}

func TestAwait(t *testing.T) {
	Factor() // which starts programs, outside of the bubble
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		Await(t, "asked three times", func() bool { asked++; return asked == 3 })
		if asked != 3 {
			t.Errorf("asked %d times", asked)
		}

		r, began := &recorder{}, time.Now()
		func() {
			defer func() { recover() }()
			Await(r, "never", func() bool { return false })
		}()
		if took := time.Since(began); !r.failed || took < Scale(awaitLimit) {
			t.Errorf("failed %v, after %v", r.failed, took)
		}
	})
}
