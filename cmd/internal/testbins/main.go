package main

import (
	"fmt"
	"os"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: testbins DIRECTORY")
		os.Exit(2)
	}
	if err := systest.BuildAll(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "testbins:", err)
		os.Exit(1)
	}
}
