package carrytest

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/preforkd/preforkd/master/carry"
)

// nearly is how far apart two readings of one moment may be. Each conversion reads two
// clocks, one after the other, and the test may have to wait between them.
const nearly = carry.Moment(time.Minute)

// moments are equal if they are nearly the same, and both are none or neither.
var moments = cmp.Comparer(func(a, b carry.Moment) bool {
	return (a == 0) == (b == 0) && a-b <= nearly && b-a <= nearly
})

// Same fails the test if two states differ in more than how exactly moments were read.
func Same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, moments); diff != "" {
		t.Errorf("the state differs (- want, + got):\n%s", diff)
	}
}

// Again returns a state as the program that takes over reads it. The Descriptors are
// those that were kept, in their new owner's hands.
func Again[S any](t testing.TB, state *S, d *carry.Descriptors) (*S, *carry.Descriptors) {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	again := new(S)
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	taken := carry.NewDescriptors()
	for _, fd := range d.Numbers() {
		taken.Keep(fd)
	}
	return again, taken
}
