package process

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseThread(t *testing.T) {
	const text = "Name:\tcat\nTgid:\t4711\nPid:\t4712\nSigQ:\t0/1\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000000\n" +
		"SigBlk:\t0000000000000001\nSigIgn:\t0000000000000002\nSigCgt:\t0000000040000000\nCapInh:\t0000000000000000\n"
	got, err := parseThread([]byte(text))
	if err != nil || got.Process != 4711 {
		t.Errorf("%+v, %v", got, err)
	}
	for sig, want := range map[unix.Signal]bool{unix.SIGHUP: false, unix.SIGINT: false, unix.SIGSYS: false, unix.SIGTERM: true, unix.SIGKILL: true} {
		if got.Takes(sig) != want {
			t.Errorf("takes %v: %v", sig, got.Takes(sig))
		}
	}
	for _, bad := range []string{"", "Name:\tcat\n", "\nTgid:\tx\n", text[:100]} {
		if got, err := parseThread([]byte(bad)); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
	if own, err := ThreadOf(unix.Gettid()); err != nil || own.Process != os.Getpid() {
		t.Errorf("this thread: %+v, %v", own, err)
	}
}
