package ipc

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A failure arrives as it was sent, and what is no failure is refused.
func TestFailure(t *testing.T) {
	for _, want := range []Failure{{FailedExec, unix.ENOEXEC}, {FailedDescriptors, unix.EBADF}, {}} {
		msg, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		kind, body, err := Parse(msg)
		if err != nil || kind != TypeFailed {
			t.Fatalf("%v, %v", kind, err)
		}
		if got, err := DecodeFailure(body); got != want || err != nil {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		for n := range len(body) {
			if _, err := DecodeFailure(body[:n]); !errors.Is(err, ErrMalformed) {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
		if _, err := DecodeFailure(append(body, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("one byte too many: %v", err)
		}
	}
}
