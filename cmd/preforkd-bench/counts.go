package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/counts"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/report"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// recordedFile is where the recorded counts are in the module.
const recordedFile = "cmd/preforkd-bench/results/counts.json"

func newCounts() *cobra.Command {
	var record bool
	var preforkd, file string
	var only []string
	var conditions counts.Conditions
	cmd := &cobra.Command{
		Use:   "counts",
		Short: "Count what the master does for a connection, and compare that with the recorded numbers",
		Long: `counts makes a few hundred connections to preforkd, one after the other, in five
forms: a program on its standard input and output, the same in a strict box, the
built-in echo, spares, and workers that serve many connections. It counts what the master does for one:
system calls by name (with strace), sleeps, page faults, allocations, bytes of
log, and what it keeps: threads, descriptors, goroutines. None of that depends
on how fast the machine is.

A count above its recorded limit is counted again, and fails when it is above
the limit every time. With --record all are counted several times under
different conditions, and the file of recorded numbers is written anew. With
--subjects that is done with some of the forms, and the others stay as they are.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if record {
				return recordCounts(cmd.Context(), preforkd, file, only)
			}
			return checkCounts(cmd.Context(), cmd.OutOrStdout(), preforkd, file, only, conditions)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&record, "record", false, "write the file anew, from what is counted now")
	f.StringSliceVar(&only, "subjects", nil, "only these of stdio, strict, echo, spares and reuse")
	f.IntVar(&conditions.Procs, "procs", 0, "GOMAXPROCS of the master (what is recorded is with 2)")
	f.IntVar(&conditions.Hogs, "hogs", 0, "run so many programs beside it that do nothing but compute")
	preforkdFlag(f, &preforkd)
	fileFlag(f, &file)
	return cmd
}

func preforkdFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "preforkd", "", "path of preforkd, preforkd-worker next to it (built from the module here when not given)")
}

func fileFlag(f *pflag.FlagSet, path *string) {
	f.StringVar(path, "file", recordedFile, "the recorded counts")
}

// subjects returns the forms of preforkd that are counted. They log as JSON, to
// a file, as a service without the journal does.
func subjects(preforkd string) []counts.Subject {
	subject := func(name, done string, args ...string) counts.Subject {
		return counts.Subject{Name: name, Done: `"msg":"` + done + `"`, Metrics: true, Args: func(port, metrics int) []string {
			return append([]string{preforkd, "serve", "--control", "none", "--log-format", "json",
				"--listen", fmt.Sprintf("127.0.0.1:%d", port), "--metrics", fmt.Sprintf("127.0.0.1:%d", metrics)}, args...)
		}}
	}
	return []counts.Subject{
		subject("stdio", "reaped", "--", "/bin/cat"),
		subject("strict", "reaped", "--box-preset", "strict", "--", "/bin/cat"),
		subject("echo", "reaped", "echo"),
		subject("spares", "reaped", "--spares", "4", "echo"),
		subject("reuse", "ended", "--spares", "4", "--connections-per-worker", "1000000", "echo"),
	}
}

// selected returns the subjects with the given names, or all that can be had here.
func selected(all []counts.Subject, names []string) ([]counts.Subject, error) {
	for _, name := range names {
		if !slices.ContainsFunc(all, func(s counts.Subject) bool { return s.Name == name }) {
			return nil, usageError{fmt.Errorf("subject %q: no such subject", name)}
		}
	}
	return slices.DeleteFunc(all, func(s counts.Subject) bool {
		if len(names) > 0 {
			return !slices.Contains(names, s.Name)
		}
		if s.Name == "strict" && os.Geteuid() != 0 {
			progress("strict: left out: only root can have a strict box")
			return true
		}
		return false
	}), nil
}

// withBench calls f with what it needs to count. Everything that f starts, and
// every file, is gone when withBench returns.
func withBench(ctx context.Context, preforkd string, only []string, f func(*counts.Bench, []counts.Subject) error) error {
	children, err := proc.Adopt()
	if err != nil {
		return err
	}
	defer children.Close()
	dir, err := os.MkdirTemp("", "preforkd-bench-")
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer os.RemoveAll(dir)
	path, err := server.Preforkd(ctx, children, filepath.Join(dir, "build"), preforkd)
	if err != nil {
		return err
	}
	counted, err := selected(subjects(path), only)
	if err != nil {
		return err
	}
	return f(&counts.Bench{Children: children, Dir: dir, Load: counts.DefaultLoad, Progress: progress}, counted)
}

// countAttempts is how often a count above its limit is counted before it fails.
const countAttempts = 3

// checkCounts compares what is counted now with what was recorded.
func checkCounts(ctx context.Context, out io.Writer, preforkd, file string, only []string, c counts.Conditions) error {
	recorded, err := counts.Read(file)
	if err != nil {
		return err
	}
	if err := recorded.Here(); err != nil {
		return err
	}
	return withBench(ctx, preforkd, only, func(b *counts.Bench, subjects []counts.Subject) error {
		var problems []error
		for _, s := range subjects {
			start := time.Now()
			counted, excesses, err := b.Check(ctx, s, c, recorded, countAttempts)
			if err != nil {
				return err
			}
			progress("%s: counted in %.1f s", s.Name, time.Since(start).Seconds())
			fmt.Fprint(out, report.Counts(s.Name, counted, recorded.Subjects[s.Name]))
			for _, e := range excesses {
				problems = append(problems, fmt.Errorf("%s: %v", s.Name, e))
			}
		}
		if len(problems) > 0 {
			problems = append(problems, fmt.Errorf("recorded with %s, this is %s; if a change means to do more for a connection, say so in its commit and record again: preforkd-bench counts --record", recorded.Go, runtime.Version()))
		}
		return errors.Join(problems...)
	})
}

// recordCounts counts under different conditions and writes the file.
// What is recorded of other subjects than the named ones stays.
func recordCounts(ctx context.Context, preforkd, file string, only []string) error {
	recorded := counts.NewRecorded()
	if len(only) > 0 {
		before, err := counts.Read(file)
		if err != nil {
			return err
		}
		maps.Copy(recorded.Subjects, before.Subjects)
	}
	err := withBench(ctx, preforkd, only, func(b *counts.Bench, subjects []counts.Subject) error {
		for _, s := range subjects {
			var samples []counts.Counts
			for _, c := range counts.Varied() {
				counted, err := b.Count(ctx, s, c)
				if err != nil {
					return err
				}
				progress("%s: counted %s", s.Name, c.About)
				samples = append(samples, counted)
			}
			recorded.Set(s.Name, samples)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return recorded.Save(file)
}
