// Command testbins builds the programs that tests run into a directory. `make
// test` uses it, so that not every package builds them anew; see package rig.
package main

import (
	"fmt"
	"os"

	"github.com/preforkd/preforkd/cmd/internal/rig"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: testbins DIRECTORY")
		os.Exit(2)
	}
	if err := rig.BuildAll(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "testbins:", err)
		os.Exit(1)
	}
}
