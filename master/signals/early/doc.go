// Package early catches signals in the first moment of a program that a master has executed
// in its own process. It imports next to nothing, so that Go initializes it before all
// others of the program: what comes before would end the process.
package early

import (
	"os"
	"os/signal"
	"syscall"
)

// EnvSignals is the environment variable that tells a program which signals have come for
// it before it was executed, in numbers. It is there, if empty, whenever a master executes
// a program that takes over.
const EnvSignals = "PREFORKD_SIGNALS"

// Caught gets the signals, nil if no master has executed this program.
var Caught chan os.Signal

// Signals are those that a master catches.
var Signals = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2,
}

func init() {
	if _, executed := os.LookupEnv(EnvSignals); executed {
		Caught = make(chan os.Signal, 16)
		for _, sig := range Signals {
			signal.Notify(Caught, sig)
		}
	}
}
