package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/manual"
	"github.com/preforkd/preforkd/ipc"
)

// newManual writes the manual pages. It is for whoever builds a package.
func newManual() *cobra.Command {
	return &cobra.Command{
		Use:    "manual DIR",
		Short:  "Write the manual pages into a directory",
		Hidden: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return fmt.Errorf("manual takes one directory, and got %d", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			date, err := manual.Date(os.Getenv)
			if err != nil {
				return err
			}
			err = manual.Write(args[0], cmd.Root(), manual.Options{Version: ipc.Version, Date: date, Sections: manualSections})
			if err != nil {
				return failure(err)
			}
			return nil
		},
	}
}

// manualSections are what the pages say beside what --help does.
var manualSections = map[string][]manual.Section{
	"preforkd": {
		{Title: "Exit status", Text: `  0  a clean stop
  1  a failure at run time
  2  bad usage or configuration
  3  status: no preforkd is running`},
		{Title: "Shell completion", Text: `The commands, flags, services and connections are completed by the shell after

  preforkd completion bash >/etc/bash_completion.d/preforkd
  preforkd completion zsh  >/usr/local/share/zsh/site-functions/_preforkd
  preforkd completion fish >/etc/fish/completions/preforkd.fish`},
	},
	"preforkd-serve": {
		{Title: "Signals", Text: `  TERM, INT  drain: close the listeners, wait drain-timeout for live
             connections, then TERM to every worker's group, wait
             kill-delay, KILL. Each further INT skips one wait
  QUIT       the same without the first wait
  HUP        read the configuration file again
  USR1       write a summary to the log`},
		{Title: "Exit status", Text: `0 after a clean stop, 1 after a failure at run time, 2 for bad usage or
configuration. With --once it is that of the one worker, or 128 and the number of
the signal that ended it.`},
	},
	"preforkd-status": {
		{Title: "Output", Text: `LIVE is how many connections there are of as many as may be, SPARES how many
workers wait for one (and + how many are starting), QUEUE how many connections
wait in the kernel, SPAWN P50 and P99 how long a worker took to start: the median,
and what 99 of 100 stayed below. A dash stands for what is not known.

Services in trouble come first, then the fullest; of connections those whose
workers have used most CPU, then the oldest. What does not fit the terminal is
left out; elsewhere nothing is.`},
	},
}
