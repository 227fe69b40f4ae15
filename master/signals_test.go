package master

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestAddSignal(t *testing.T) {
	var kept []os.Signal
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1, unix.SIGINT, unix.SIGINT, unix.SIGTERM, unix.SIGTERM} {
		kept = addSignal(kept, sig)
	}
	if want := []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGUSR1, unix.SIGINT, unix.SIGTERM}; !slices.Equal(kept, want) {
		t.Errorf("%v, want %v", kept, want)
	}
}

// What ends the master comes first to who waits for nothing else, and however
// many come, none is lost that says something new.
func TestSignalsAreKept(t *testing.T) {
	s := CatchSignals()
	defer s.close()
	for range 1000 {
		s.caught <- unix.SIGHUP
		s.caught <- unix.SIGUSR1
	}
	if sig, err := s.During(func() error { return os.ErrExist }); sig != 0 || err != os.ErrExist {
		t.Errorf("%v, %v", sig, err)
	}
	s.caught <- unix.SIGTERM
	forever := make(chan struct{})
	defer close(forever)
	if sig, err := s.During(func() error { <-forever; return errors.New("late") }); sig != unix.SIGTERM || err != nil {
		t.Errorf("%v, %v", sig, err)
	}
	for _, want := range []os.Signal{unix.SIGHUP, unix.SIGUSR1} {
		if sig := <-s.next; sig != want {
			t.Errorf("%v, want %v", sig, want)
		}
	}
	select {
	case sig := <-s.next:
		t.Errorf("%v is left", sig)
	default:
	}
}
