package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/top"
	"github.com/preforkd/preforkd/master/control"
)

func newTop() *cobra.Command {
	var path string
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the running master, and end connections",
		Long: `Top shows what status prints, again and again, on the whole terminal, with
rates. Of the services, those in trouble come first, then the fullest.

  q, Ctrl-C            quit
  a c m b p            sort connections by age, CPU, memory, bytes or peer
  r                    reverse the order
  /                    show only connections with a text; Esc shows all again
  s                    show one service's connections, then the next one's
  up, down, PgUp, PgDn, Home, End
                       choose a connection
  k, K                 send SIGTERM or SIGKILL to its worker, after a question
  space                stand still

When the master does not answer, the last look stays, and top tries again.`,
		Example: `  preforkd top
  preforkd top --control /run/preforkd/control.sock --interval 5s`,
		Args: argCount(0, 0, "no arguments"),
		RunE: func(*cobra.Command, []string) error {
			if interval < minInterval {
				return fmt.Errorf("--interval %v: at least %v is needed", interval, minInterval)
			}
			if path == "" {
				path = control.FindPath()
			}
			client := control.NewClient(path)
			defer client.Close()
			err := top.Run(top.Options{
				Source: topSource{client}, Interval: interval,
				Input: os.Stdin, Output: os.Stdout, Getenv: os.Getenv,
			})
			if err != nil && !errors.Is(err, top.ErrTerminal) {
				return failure(err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&path, "control", "", "watch the master with the control socket `PATH` (default where this user's master has it, else root's)")
	cmd.Flags().DurationVar(&interval, "interval", top.Interval, "how long after a look the next one is taken")
	return cmd
}

// minInterval is the minimum interval between two statuses. Within it a master returns
// the same status again.
const minInterval = 100 * time.Millisecond

// A topSource is the master that top shows.
type topSource struct{ *control.Client }

func (m topSource) Kill(ctx context.Context, conn, signal string) error {
	_, err := m.Client.Kill(ctx, conn, signal)
	return err
}
