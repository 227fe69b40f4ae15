package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/scenario"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

func newList() *cobra.Command {
	var packages bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List servers and scenarios, and what is missing here",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			if packages {
				fmt.Fprintln(out, strings.Join(server.Packages(), " "))
				return nil
			}
			fmt.Fprintln(out, "servers")
			for _, d := range server.Table {
				fmt.Fprintf(out, "  %-18s %-8s %s%s\n", d.Name, d.Class, d.About, availability(d))
			}
			fmt.Fprintln(out, "scenarios")
			for _, s := range scenario.All {
				fmt.Fprintf(out, "  %-18s %s\n", s.Name, s.About)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&packages, "packages", false, "print only the Debian packages that the servers are in, and the compiler's, on one line")
	return cmd
}

// availability says what a server would need; nothing when it is there.
func availability(d server.Definition) string {
	if err := d.Installed(); err != nil {
		return " (" + err.Error() + ")"
	}
	return ""
}
