package systest

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"testing"
)

// A Result is what became of a command that ended by itself.
type Result struct {
	Code           int // -1 when a signal killed it
	Stdout, Stderr string
}

// Run runs preforkd with these arguments to its end.
func Run(t testing.TB, args ...string) Result {
	t.Helper()
	return Options{}.Run(t, args...)
}

// Run runs preforkd with these arguments, in place of Args, to its end.
func (o Options) Run(t testing.TB, args ...string) Result {
	t.Helper()
	o.Env = append([]string{"RUNTIME_DIRECTORY=" + Dir(t)}, o.Env...)
	ctx, cancel := context.WithTimeout(t.Context(), Deadline())
	defer cancel()
	files := pass(&o)
	made := o.exec(append(append(append([]string{}, o.Wrap...), o.program(t)), args...))
	cmd := exec.CommandContext(ctx, made.Path, made.Args[1:]...)
	cmd.Env, cmd.Dir, cmd.SysProcAttr = made.Env, made.Dir, made.SysProcAttr
	cmd.ExtraFiles = files
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%v has not ended after %v\n%s%s", cmd.Args, Deadline(), &stdout, &stderr)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", cmd.Args, err)
	}
	return Result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}
