package box

import (
	"fmt"
	"strings"
	"testing"
)

// Every service that lacks something is named with its keys, those that lack the same
// together, and the line has a bound.
func TestLackError(t *testing.T) {
	lack := func(key, missing string) *MissingError {
		return &MissingError{Key: key, Missing: missing, Remedy: "get " + missing}
	}
	var e LackError
	if !e.IsEmpty() {
		t.Error("it is not empty before anything was added")
	}
	e.Add("a", Lacks{lack("k1", "X"), lack("k2", "Y"), lack("k3", "X")})
	e.Add("b", Lacks{lack("k2", "Y")})
	if got, want := e.Error(), "service a: box: k1, k3: needs X: get X; services a, b: box: k2: needs Y: get Y"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	e.Add("b c", Lacks{lack("k4", "Z"), lack("k5", "V")})
	if got, want := e.Error(), `; service b c: box: k4: needs Z: get Z; k5: needs V: get V`; !strings.HasSuffix(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := (Lacks{lack("k1", "X"), lack("k2", "Y")}).Error(), "k1: needs X: get X; k2: needs Y: get Y"; got != want {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for i := range 1000 {
		e.Add(fmt.Sprint("service", i), Lacks{lack("k2", "Y"), lack("k6", fmt.Sprint("W", i%100))})
	}
	got := e.Error()
	for _, want := range []string{
		"services a, b, service0, service1, service2 and 997 more: box: k2: needs Y",
		"; services service0, service100, service200, service300, service400 and 5 more: box: k6: needs W0: ",
		"; there is more that 960 of 1003 services lack: preforkd check --box tells of one",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
	if len(got) > 1500 {
		t.Errorf("%d bytes: %q", len(got), got)
	}
}
