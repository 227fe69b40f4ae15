package primitive

import (
	"errors"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
	"github.com/preforkd/preforkd/ipc/needtest"
)

type commands struct{}

func (commands) Run(cmd *exec.Cmd) error { return cmd.Run() }

// Every primitive has a value, and the values have the order that they have on
// any machine.
func TestMeasure(t *testing.T) {
	needtest.Program(t, "gcc")
	needtest.Program(t, "musl-gcc")
	build, err := server.Compile(t.Context(), commands{}, t.TempDir(), "/nonexistent", server.Libc)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Measure(t.Context(), commands{}, build)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range result.AllPrimitives {
		if name == result.CPUID && !slices.Contains([]string{"386", "amd64"}, runtime.GOARCH) {
			continue
		}
		if !(got[name] > 0) {
			t.Errorf("%s is %v", name, got[name])
		}
	}
	for name := range got {
		if !slices.Contains(result.AllPrimitives, name) {
			t.Errorf("%s is measured, and no table has it", name)
		}
	}
	for _, order := range [][2]result.Primitive{
		{result.Syscall, result.Switch}, {result.Switch, result.Spawn},
		{result.Fault, result.Spawn}, {result.NapCPU, result.Nap},
	} {
		if got[order[0]] >= got[order[1]] {
			t.Errorf("%s takes %v ns, and %s, which has it in it, %v", order[0], got[order[0]], order[1], got[order[1]])
		}
	}
	if got[result.Nap] < 20000 {
		t.Errorf("a nap of 20 us took %v ns", got[result.Nap])
	}
}

// broken has every compiler work, and the program that measures fail.
type broken struct{}

func (broken) Run(cmd *exec.Cmd) error {
	if strings.HasSuffix(cmd.Path, "primitives") {
		return errors.New("no such thing")
	}
	return nil
}

func TestMeasureSaysWhyThereIsNothing(t *testing.T) {
	build, err := server.Compile(t.Context(), broken{}, t.TempDir(), "/nonexistent", server.Libc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Measure(t.Context(), broken{}, build); err == nil || !strings.Contains(err.Error(), "measure primitives: ") {
		t.Errorf("got %v", err)
	}
	if got, err := parse("fault much\n"); err == nil {
		t.Errorf("%v was read from what is no number", got)
	}
}
