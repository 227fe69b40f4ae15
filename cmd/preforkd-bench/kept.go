package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/goal"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/show"
)

// The commands in this file work on a record that --json kept.

func newShow() *cobra.Command {
	var peer string
	cmd := &cobra.Command{
		Use:   "show FILE",
		Short: "Print the tables of a kept run",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := kept(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), show.Text(record, peer))
			return err
		},
	}
	cmd.Flags().StringVar(&peer, "peer", "tcpserver", "server that ratios are taken to")
	return cmd
}

func newChart() *cobra.Command {
	return &cobra.Command{
		Use:   "chart FILE",
		Short: "Draw a kept run as SVG, on standard output",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := kept(args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), show.Chart(record))
			return err
		},
	}
}

func newMarkdown() *cobra.Command {
	var goals bool
	cmd := &cobra.Command{
		Use:   "markdown FILE",
		Short: "Print a table of the servers of a kept run, for a document",
		Args:  oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := kept(args[0])
			if err != nil {
				return err
			}
			table := show.ServerTable(record)
			if goals {
				table = show.GoalTable(goal.Judge(record))
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), table)
			return err
		},
	}
	cmd.Flags().BoolVar(&goals, "goals", false, "a table of the goals instead")
	return cmd
}

func newCheck() *cobra.Command {
	var required []string
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Exit 1 when a ratio of a kept run is worse than its bound",
		Long: `check compares the ratios of a kept run with loose bounds, and exits 1 when one
is worse. Goals that were not measured are listed and do not fail, unless
--require names them: then every ratio of theirs must be there.`,
		Args: oneFile,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := kept(args[0])
			if err != nil {
				return err
			}
			verdicts := goal.Judge(record)
			if _, err := fmt.Fprint(cmd.OutOrStdout(), show.Goals(verdicts)); err != nil {
				return err
			}
			return goal.Check(verdicts, required)
		},
	}
	cmd.Flags().StringSliceVar(&required, "require", nil, "goals that must have been measured, such as P1,P5")
	return cmd
}

func kept(path string) (*result.Record, error) {
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
