package main

import (
	"context"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// completionTimeout is the maximum time that a user waits for a completion from a
// running master.
const completionTimeout = time.Second

// completeNames lets shells complete fixed names, and the services and connections of
// the running master.
func completeNames(root *cobra.Command) {
	fixed := func(names ...string) cobra.CompletionFunc {
		return firstArgOnly(cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	}
	functions := map[string]cobra.CompletionFunc{
		"serve":     firstArgOnly(cobra.FixedCompletions(config.Handlers, cobra.ShellCompDirectiveDefault)),
		"drain":     firstArgOnly(completeFromMaster(serviceNames)),
		"learn":     firstArgOnly(completeFromMaster(serviceNames)),
		"resume":    firstArgOnly(completeFromMaster(drainedNames)),
		"kill":      firstArgOnly(completeFromMaster(connectionIDs)),
		"log-level": fixed("debug", "info", "warn", "error"),
		"box":       completeFromFile,
		"explain":   completeFromMaster(func(s control.Status, given int) []string { return onlySecondArg(given, serviceNames(s, given)) }),
	}
	for _, cmd := range root.Commands() {
		if cmd.Name() == "check" {
			_ = cmd.RegisterFlagCompletionFunc("box", completeFromFile)
		}
		if complete, ok := functions[cmd.Name()]; ok {
			cmd.ValidArgsFunction = complete
		}
	}
}

// firstArgOnly completes only the first argument.
func firstArgOnly(complete cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return complete(cmd, args, prefix)
	}
}

// completeFromMaster completes names from the status of the master that the command
// concerns. Without a master, or without the right to ask it, there is no completion.
func completeFromMaster(names func(s control.Status, given int) []string) cobra.CompletionFunc {
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

// completeFromFile completes the services of the configuration that --config names. A
// file that is wrong has none.
func completeFromFile(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	path, err := cmd.Flags().GetString("config")
	if err != nil || path == "" || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	cfg, err := config.Load(path, config.Run{Activated: true})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for i := range cfg.Services {
		names = append(names, cobra.CompletionWithDesc(cfg.Services[i].Name, human.Printable(cfg.Services[i].Box.Summary())))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func serviceNames(s control.Status, _ int) []string {
	var names []string
	for _, service := range s.Services {
		names = append(names, cobra.CompletionWithDesc(service.Name, human.Printable(service.Handler)))
	}
	return names
}

// drainedNames are the services that can be resumed.
func drainedNames(s control.Status, given int) []string {
	s.Services = slices.DeleteFunc(slices.Clone(s.Services), func(service control.Service) bool { return service.State == "serving" })
	return serviceNames(s, given)
}

func connectionIDs(s control.Status, _ int) []string {
	var names []string
	for _, c := range s.Connections {
		names = append(names, cobra.CompletionWithDesc(c.ID, human.Printable(c.Service+" "+c.Peer)))
	}
	return names
}

func onlySecondArg(given int, names []string) []string {
	if given != 1 {
		return nil
	}
	return names
}
