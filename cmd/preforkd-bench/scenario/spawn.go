package scenario

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// spawns returns the rows of the spawn baseline, one for each program.
func spawns(*Plan) []row {
	var rows []row
	for _, p := range []struct{ name, about, mode, program string }{
		{"spawn-empty", "an empty static program", "none", "empty"},
		{"spawn-c", "the static C echo, 64 bytes through a socket pair", "echo", "echo"},
		{"spawn-musl-c", "the same, linked with musl", "echo", "muslecho"},
		{"spawn-bare-c", "the same without a C library", "echo", "bareecho"},
		{"spawn-go", "a bare Go program that copies fd 3, 64 bytes through a socket pair", "echo", "barego"},
	} {
		rows = append(rows, row{
			Server: result.Server{Name: p.name, Class: "spawn", About: p.about},
			missing: func(r *Run) error {
				_, err := r.Build.Program("spawnbaseline")
				if err == nil {
					_, err = r.Build.Program(p.program)
				}
				return err
			},
			run: func(ctx context.Context, r *Run) (result.Measurement, error) {
				return spawn(ctx, r.Children, r.Build, r.Plan.Spawns, p.mode, p.program)
			},
		})
	}
	return rows
}

// spawn measures the baseline of one program.
func spawn(ctx context.Context, children *proc.Children, build *server.Build, count int, mode, program string) (result.Measurement, error) {
	baseline, err := build.Program("spawnbaseline")
	if err != nil {
		return result.Measurement{}, err
	}
	path, err := build.Program(program)
	if err != nil {
		return result.Measurement{}, err
	}
	var out, problems strings.Builder
	cmd := exec.CommandContext(ctx, baseline, strconv.Itoa(count), mode, path)
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := children.Run(cmd); err != nil {
		return result.Measurement{}, fmt.Errorf("spawn %s: %w: %.200q", program, err, problems.String())
	}
	var wall, own, theirs float64
	if _, err := fmt.Sscan(out.String(), &wall, &own, &theirs); err != nil {
		return result.Measurement{}, fmt.Errorf("spawn %s: parse %.200q: %w", program, out.String(), err)
	}
	n := float64(count) * 1000
	return result.Measurement{Values: map[result.Metric]float64{
		result.SpawnWall: wall / n,
		result.SpawnCPU:  (own + theirs) / n,
	}}, nil
}
