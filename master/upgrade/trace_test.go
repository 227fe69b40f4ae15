package upgrade

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
)

// A Trace says at any time how far the upgrade is, also in the program that takes over.
func TestTrace(t *testing.T) {
	trace, err := NewTrace("1.5.0")
	if err != nil {
		t.Fatal(err)
	}
	defer trace.Close()
	fd := int(trace.File().Fd())
	began := time.Now()
	expect := func(step Step, reason string) {
		t.Helper()
		f, err := ReadTrace(fd)
		if err != nil {
			t.Fatal(err)
		}
		want := reason + "its process has died, and the service manager has started " + ipc.Version
		if f.Step != string(step) || f.Reason != want || f.To != "1.5.0" || f.At.Before(began.Add(-time.Minute)) || f.At.After(time.Now()) {
			t.Errorf("it says %+v; want step %s, %q", f, step, want)
		}
	}
	expect(StepExport, "")
	trace.at(StepExec)
	expect(StepExec, "")

	over, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	next, err := continueTrace(&Header{To: "1.5.0", Trace: d.Keep(over)}, d)
	if err != nil || next == nil {
		t.Fatal(next, err)
	}
	defer next.Close()
	next.at(StepRestore)
	expect(StepRestore, "")
	next.failed(&Failure{StepRestore, "no room"})
	expect(StepRestore, "no room; on the way back, ")
	next.at(StepServe)
	expect(StepServe, "")

	// What does not fit is cut, and is a line all the same.
	next.failed(&Failure{StepServe, strings.Repeat("\x01\xff", maxTrace)})
	f, err := ReadTrace(fd)
	if err != nil || f.Step != string(StepServe) {
		t.Errorf("with a long reason: %+v, %v", f, err)
	}
}

// There is no Trace without a service manager, and a file that is none is an error.
func TestNoTrace(t *testing.T) {
	none, err := continueTrace(&Header{Trace: carry.None}, carry.NewDescriptors())
	if none != nil || err != nil {
		t.Errorf("%v, %v", none, err)
	}
	none.at(StepServe)
	none.failed(&Failure{})
	none.Close()

	for name, content := range map[string]string{
		"empty": "", "half a line": `{"to":"1`, "no JSON": "no\n", "long": strings.Repeat("x", 2*maxTrace),
	} {
		f, err := os.CreateTemp(t.TempDir(), "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadTrace(int(f.Fd())); err == nil {
			t.Errorf("%s: no error", name)
		}
		f.Close()
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if _, err := ReadTrace(int(r.Fd())); err == nil {
		t.Error("a pipe: no error")
	}
}
