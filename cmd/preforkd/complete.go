package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// completionTimeout is how long somebody who has pressed a key waits for a
// running master.
const completionTimeout = time.Second

// completeNames lets shells complete what only a running master knows, its
// services and connections, and names that are fixed.
func completeNames(root *cobra.Command) {
	fixed := func(names ...string) cobra.CompletionFunc {
		return first(cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	}
	functions := map[string]cobra.CompletionFunc{
		"serve":     first(cobra.FixedCompletions(config.Handlers, cobra.ShellCompDirectiveDefault)),
		"drain":     first(fromMaster(services)),
		"kill":      first(fromMaster(connections)),
		"log-level": fixed("debug", "info", "warn", "error"),
		"explain":   fromMaster(func(s control.Status, given int) []string { return secondOnly(given, services(s, given)) }),
	}
	for _, cmd := range root.Commands() {
		if complete, ok := functions[cmd.Name()]; ok {
			cmd.ValidArgsFunction = complete
		}
	}
}

// first completes the first argument and no other.
func first(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, begun string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, begun)
	}
}

// fromMaster completes by a look at the master that the command is about. Without
// one, or without the right to look, there is nothing to complete.
func fromMaster(names func(s control.Status, given int) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		path, err := cmd.Flags().GetString("control")
		if err != nil || path == "" {
			path = control.FindPath()
		}
		client := control.NewClient(path)
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), completionTimeout)
		defer cancel()
		s, err := client.Status(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(s, len(args)), cobra.ShellCompDirectiveNoFileComp
	}
}

func services(s control.Status, _ int) []string {
	var names []string
	for _, service := range s.Services {
		names = append(names, cobra.CompletionWithDesc(service.Name, human.Printable(service.Handler)))
	}
	return names
}

func connections(s control.Status, _ int) []string {
	var names []string
	for _, c := range s.Connections {
		names = append(names, cobra.CompletionWithDesc(c.ID, human.Printable(c.Service+" "+c.Peer)))
	}
	return names
}

func secondOnly(given int, names []string) []string {
	if given != 1 {
		return nil
	}
	return names
}
