package signals

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAdd(t *testing.T) {
	var kept []unix.Signal
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT, unix.SIGINT, unix.SIGTERM, unix.SIGTERM} {
		kept = add(kept, sig)
	}
	if want := []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGINT, unix.SIGTERM}; !slices.Equal(kept, want) {
		t.Errorf("%v, want %v", kept, want)
	}
}

// What ends the master comes first to who waits for nothing else, and however
// many come, none is lost that says something new.
func TestSignalsAreKept(t *testing.T) {
	q := Catch()
	defer q.close()
	for range 1000 {
		q.caught <- unix.SIGHUP
		q.caught <- unix.SIGUSR1
	}
	if sig, err := q.During(func() error { return os.ErrExist }); sig != 0 || err != os.ErrExist {
		t.Errorf("%v, %v", sig, err)
	}
	q.caught <- unix.SIGTERM
	forever := make(chan struct{})
	defer close(forever)
	if sig, err := q.During(func() error { <-forever; return errors.New("late") }); sig != unix.SIGTERM || err != nil {
		t.Errorf("%v, %v", sig, err)
	}
	for _, want := range []unix.Signal{unix.SIGHUP, unix.SIGUSR1} {
		if sig := <-q.next; sig != want {
			t.Errorf("%v, want %v", sig, want)
		}
	}
	select {
	case sig := <-q.next:
		t.Errorf("%v is left", sig)
	default:
	}
}
