package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/report"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// keptRuns are the runs that the documents show. They have no scenario in
// common: each figure has one source.
var keptRuns = []string{
	"cmd/preforkd-bench/results/loads.json", "cmd/preforkd-bench/results/many.json",
	"cmd/preforkd-bench/results/musl.json", "cmd/preforkd-bench/results/services.json",
	"cmd/preforkd-bench/results/box.json",
}

// Where the documents are in the module.
const (
	longDocument = "deploy/doc/benchmarks.md"
	chartFile    = "deploy/doc/benchmarks.svg"
	readme       = "README.md"
)

func newDocument() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "document",
		Short: "Write the kept runs into the documents of the module: tables, chart and README",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			files, err := documents(dir)
			if err != nil {
				return err
			}
			for name, content := range files {
				path := filepath.Join(dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					return fmt.Errorf("write documents: %w", err)
				}
				if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
					return fmt.Errorf("write documents: %w", err)
				}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "module", ".", "the module's directory")
	return cmd
}

// documents returns what the documents of a module should be, by their paths in
// it. Of the README only what stands between the markers is from the runs.
func documents(dir string) (map[string]string, error) {
	var runs []*result.Record
	for _, path := range keptRuns {
		record, err := loadRun(filepath.Join(dir, path))
		if err != nil {
			return nil, err
		}
		runs = append(runs, record)
	}
	text, err := report.Document(runs)
	if err != nil {
		return nil, err
	}
	content, err := os.ReadFile(filepath.Join(dir, readme))
	if err != nil {
		return nil, err
	}
	before, _, after, err := report.Between(string(content))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", readme, err)
	}
	return map[string]string{
		longDocument: text,
		chartFile:    report.Chart(runs[0]),
		readme:       before + report.Compared(runs[0], runs) + after,
	}, nil
}
