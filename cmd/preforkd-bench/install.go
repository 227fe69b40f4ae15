package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/scenario"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// policy is where Debian's packages ask before they start a service
// (invoke-rc.d(8)); 101 forbids it.
const policy = "/usr/sbin/policy-rc.d"

func newInstall() *cobra.Command {
	return &cobra.Command{
		Use:   "install",
		Short: "Install the other servers as Debian packages; none of their services is started",
		Args:  noArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return install(cmd.Context()) },
	}
}

func install(ctx context.Context) error {
	if installed(ctx, server.Packages()) {
		progress("all packages are installed")
		return nil
	}
	if os.Geteuid() != 0 {
		return usageError{errors.New("install: needs root")}
	}
	f, err := os.OpenFile(policy, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	switch {
	case err == nil:
		defer os.Remove(policy)
		_, err = f.WriteString("#!/bin/sh\nexit 101\n")
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("install: forbid service starts: %w", err)
		}
	case !errors.Is(err, os.ErrExist): // one that exists is the administrator's
		return fmt.Errorf("install: forbid service starts: %w", err)
	}
	for _, args := range [][]string{
		{"apt-get", "update"},
		append([]string{"apt-get", "install", "--yes", "--no-install-recommends"}, server.Packages()...),
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("install: %s %s: %w", args[0], args[1], err)
		}
	}
	return nil
}

// installed reports whether every one of the packages is.
func installed(ctx context.Context, packages []string) bool {
	args := append([]string{"-W", "-f", "${db:Status-Status}\n"}, packages...)
	out, err := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	return err == nil && strings.Count(string(out), "installed\n") == len(packages) &&
		!strings.Contains(string(out), "not-installed")
}

func newList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List servers and scenarios, and what is missing here",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out := cmd.OutOrStdout()
			fmt.Fprintln(out, "servers")
			for _, d := range server.Table {
				fmt.Fprintf(out, "  %-18s %-6s %s%s\n", d.Name, d.Class, d.About, availability(d))
			}
			fmt.Fprintln(out, "scenarios")
			for _, s := range scenario.All {
				fmt.Fprintf(out, "  %-18s %s\n", s.Name, s.About)
			}
			return nil
		},
	}
}

// availability says what a server would need; nothing when it is there.
func availability(d server.Definition) string {
	if err := d.Installed(); err != nil {
		return " (" + err.Error() + ")"
	}
	return ""
}
