//go:build upgradefault

package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Suffix is what the path of the file has after that of the program. The file has one
// line, "STEP KIND".
const Suffix = ".fault"

// ExitCode is that of a program that ends by a fault of the kind "exit".
const ExitCode = 77

// At does what the file beside the program says, if the file is for this step: it
// returns an error ("error"), panics ("panic"), never returns ("hang"), exits with
// ExitCode ("exit"), or kills the process by SIGKILL ("kill"). A file that cannot be
// understood is an error at every step.
func At(step string) error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the fault: %w", err)
	}
	text, err := os.ReadFile(program + Suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the fault: %w", err)
	}
	words := strings.Fields(string(text))
	if len(words) != 2 {
		return fmt.Errorf("%s%s: %q, want a step and a kind", program, Suffix, text)
	}
	if words[0] != step {
		return nil
	}
	switch words[1] {
	case "error":
		return fmt.Errorf("a fault at %s", step)
	case "panic":
		panic("a fault at " + step)
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "exit":
		os.Exit(ExitCode)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour) // the signal may reach another thread first
	}
	return fmt.Errorf("%s%s: there is no kind %q", program, Suffix, words[1])
}
