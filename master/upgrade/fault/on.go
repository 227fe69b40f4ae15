//go:build upgradefault

package fault

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// suffix is what the path of the file has after that of the program.
const suffix = ".fault"

// exitCode is that of a program that ends by a fault of the kind "exit".
const exitCode = 77

// At does what the file beside the program says, if the file is for this step: it
// returns an error ("error"), panics ("panic"), never returns ("hang"), exits with
// code 77 ("exit"), or kills the process by SIGKILL ("kill"). The file has one line,
// "STEP KIND" or "STEP KIND PID". The pid is that of the only process which fails: a
// program that is tried in a child passes the same steps there, under another pid. A
// file that cannot be understood is an error at every step.
func At(step string) error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the fault: %w", err)
	}
	text, err := os.ReadFile(program + suffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find the fault: %w", err)
	}
	words := strings.Fields(string(text))
	if len(words) != 2 && len(words) != 3 {
		return fmt.Errorf("%s%s: %q, want a step, a kind and perhaps a pid", program, suffix, text)
	}
	if words[0] != step || len(words) == 3 && words[2] != strconv.Itoa(os.Getpid()) {
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
		os.Exit(exitCode)
	case "kill":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		time.Sleep(time.Hour) // the signal may reach another thread first
	}
	return fmt.Errorf("%s%s: there is no kind %q", program, suffix, words[1])
}
