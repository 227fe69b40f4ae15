package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/learnview"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

func newLearn() *cobra.Command {
	var duration time.Duration
	cmd := controlCommand{
		use:   "learn SERVICE",
		short: "Observe what new connections use, and print the keys of a box that allows it",
		long: `Learn has the master observe which system calls the new connections of a service
make, and all that their programs start, and with which arguments where a key of the
box is about them. In the end, or on Ctrl-C, it prints the keys that allow just that,
for [service.NAME.box].

The box of the service stays what it is: what it denies is denied and named apart. With
system-calls-action = "log" nothing is denied that system-calls does not allow, which
is the way to learn all that a program would use. A service without a box is observed
as it is.

An observed connection is slower, because the master is asked about each call. When
learn ends, new connections are as before, and those that are observed go on.`,
		example:   "  preforkd learn web\n  preforkd learn --for 1h web >web.toml",
		arguments: argCount(1, 1, "one service"),
		timeout:   math.MaxInt64,
		run: func(ctx context.Context, cmd *cobra.Command, client *control.Client, args []string) error {
			switch {
			case args[0] == "":
				return errors.New(`service "": the name is empty`)
			case duration <= 0:
				return fmt.Errorf("--for %v: must be longer than 0s", duration)
			}
			return learn(ctx, cmd.OutOrStdout(), client, args[0], duration)
		},
	}.command()
	cmd.Flags().DurationVar(&duration, "for", 10*time.Minute, "observe for `DURATION`")
	return cmd
}

// learnInterval is how often learn asks what is known. The master ends an observation
// that nobody asks for.
const learnInterval = time.Second

// learn observes a service for a time, or until a signal.
func learn(ctx context.Context, w io.Writer, client *control.Client, service string, duration time.Duration) error {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	began := time.Now()
	first, cancel := context.WithTimeout(ctx, reloadTimeout) // boxes may have to wait for file systems
	known, err := client.Learn(first, service)
	cancel()
	if err != nil {
		return masterError(err)
	}
	fmt.Fprintf(os.Stderr, "preforkd: observing the new connections of service %s for %v; Ctrl-C ends that\n", human.Printable(service), duration)
	end := time.NewTimer(duration)
	defer end.Stop()
	tick := time.NewTicker(learnInterval)
	defer tick.Stop()
	var failed error
	for over := false; !over && failed == nil && known.Over == ""; {
		select {
		case <-signals:
			over = true
		case <-end.C:
			over = true
		case <-tick.C:
		}
		next, cancel := context.WithTimeout(ctx, controlTimeout)
		latest, err := client.Learned(next, known.ID, over)
		cancel()
		if failed = err; err == nil {
			known = latest
		}
	}
	if err := learnview.Write(w, &known, time.Since(began)); err != nil {
		return failure(err)
	}
	switch {
	case failed != nil:
		return failure(fmt.Errorf("this is what was known before it ended: %w", failed))
	case known.Over != "":
		fmt.Fprintf(os.Stderr, "preforkd: it has ended early: %s\n", human.Printable(known.Over))
	}
	if known.Processes == 0 {
		return failure(fmt.Errorf("service %s: nothing was observed, because no connection has begun", human.Printable(service)))
	}
	return nil
}
