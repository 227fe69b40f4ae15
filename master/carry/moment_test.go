package carry

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestMomentsStayTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := At(time.Now().Add(time.Duration(rapid.Int64Range(-1e18, 1e18).Draw(t, "after"))))
		for range 3 {
			if again := At(m.Time()); again != m {
				t.Fatalf("moment %d has become %d", m, again)
			}
		}
	})
}

func TestMomentsAreOfTheMonotonicClock(t *testing.T) {
	before := monotonic()
	m := int64(At(time.Now()))
	// The anchor is as exact as two readings in a row.
	if after := monotonic(); m < before-int64(time.Second) || m > after+int64(time.Second) {
		t.Errorf("%d is not from %d to %d", m, before, after)
	}
	wall := time.Now().Round(0)
	if d := At(wall).Time().Sub(wall); d < -time.Minute || d > time.Minute {
		t.Errorf("a time of the wall clock has moved by %v", d)
	}
}

func TestTheZeroTimeIsNoMoment(t *testing.T) {
	if At(time.Time{}) != 0 || !Moment(0).Time().IsZero() {
		t.Error("the zero time is not moment 0")
	}
	for _, m := range []Moment{math.MinInt64, -1, 1, math.MaxInt64} {
		if m.Time().IsZero() {
			t.Errorf("moment %d is the zero time", m)
		}
	}
}
