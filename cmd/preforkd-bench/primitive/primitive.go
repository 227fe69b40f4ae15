package primitive

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// limit ends a measurement that hangs. One that works takes less than a second.
const limit = 30 * time.Second

// runner runs a command to its end.
type runner interface {
	Run(*exec.Cmd) error
}

// programs are what is started, by the primitive that this is.
var programs = []struct {
	primitive result.Primitive
	program   string
}{
	{result.Spawn, "bareempty"},
	{result.SpawnMusl, "muslempty"},
	{result.SpawnLibc, "empty"},
}

// Measure measures the machine, in nanoseconds. A primitive that cannot be had
// here (CPUID on another processor, a program whose compiler is missing) has no
// value. The error says why there is none at all.
func Measure(ctx context.Context, run runner, build *server.Build) (result.Primitives, error) {
	measurer, err := build.Program("primitives")
	if err != nil {
		return nil, fmt.Errorf("measure primitives: %w", err)
	}
	var args []string
	for _, p := range programs {
		if path, err := build.Program(p.program); err == nil {
			args = append(args, string(p.primitive)+"="+path)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var out, problems strings.Builder
	cmd := exec.CommandContext(ctx, measurer, args...)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := run.Run(cmd); err != nil {
		return nil, fmt.Errorf("measure primitives: %w: %.200q", err, problems.String())
	}
	return parse(out.String())
}

// parse reads lines of a name and a number.
func parse(text string) (result.Primitives, error) {
	values := result.Primitives{}
	for line := range strings.Lines(text) {
		var name string
		var value float64
		if _, err := fmt.Sscanf(line, "%s %g", &name, &value); err != nil {
			return nil, fmt.Errorf("measure primitives: parse %.200q: %w", line, err)
		}
		values[result.Primitive(name)] = value
	}
	return values, nil
}
