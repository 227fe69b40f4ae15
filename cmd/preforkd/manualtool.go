//go:build manual

package main

import (
	"fmt"
	"os"
)

// With the tag manual this package is the tool that writes the manual and the
// shell completion: go run -tags manual ./cmd/preforkd DIR. Both are made of the
// commands' own texts. preforkd itself needs no command for that.
func init() {
	mainProgram = func(args []string) int {
		if len(args) != 1 || args[0] == "" {
			fmt.Fprintf(os.Stderr, "the manual is written into one directory, got %d arguments\n", len(args))
			return exitUsage
		}
		if err := writeManual(args[0], os.Getenv); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitFailure
		}
		return exitOK
	}
}
