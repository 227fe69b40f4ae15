package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/report"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// The commands in this file work on a record that --json kept.

func newShow() *cobra.Command {
	var peer string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Print the tables of a kept run",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := loadRun(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), report.Text(record, peer))
			return err
		},
	}
	cmd.Flags().StringVar(&peer, "peer", "tcpserver", "server that ratios are taken to")
	return cmd
}

func newReduce() *cobra.Command {
	var scenarios []string
	cmd := &cobra.Command{
		Use:   "reduce FILE",
		Short: "Print a kept run without its single rounds: medians, quartiles, ratios of the targets",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := loadRun(args[0])
			if err != nil {
				return err
			}
			return record.Reduce(scenarios...).Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringSliceVar(&scenarios, "scenarios", nil, "only these scenarios")
	return cmd
}

func loadRun(path string) (*result.Record, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read results: %w", err)
	}
	defer f.Close()
	return result.Read(f)
}

func oneFile(_ *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usageError{fmt.Errorf("want one file of results, got %d arguments", len(args))}
	}
	return nil
}
