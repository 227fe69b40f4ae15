package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/terminal"
	"github.com/preforkd/preforkd/master/config"
)

func newConnect() *cobra.Command {
	var noQuitWord bool
	var timeout, halfClosed time.Duration
	cmd := &cobra.Command{
		Use:   "connect ADDR",
		Short: "Talk to a server from the terminal or through pipes",
		Long: `connect talks to a server with two processes: one prints what arrives, the
other sends what is typed, or whatever else stdin is.

A line q or Q alone, Ctrl-D and the end of stdin end the sending side only; the
rest of what the server says is printed until it closes. A file on stdin is
data and may hold such a line; for a pipe, --no-quit-word says the same.

When the server ends its side, it may still read. A file or a pipe on stdin is
sent to its end, unless the connection breaks or the pipe pauses for longer than
--half-closed-timeout. On a terminal, the end of the server's side ends connect.

On a terminal, what the server sends is made safe to print, and lines that
arrive leave the line being typed in one piece. Elsewhere every byte is passed
on as it is.

ADDR is host:port, :port (this machine), [v6]:port, unix:/path or unix:@name.
The exit code is 0 after an orderly end, 1 when the connection fails or is reset
or when not all input was sent, which a line on stderr says, 2 for bad usage.`,
		Example: `  preforkd connect localhost:7007
  preforkd connect [fe80::1%eth0]:7007
  preforkd connect unix:/run/service.sock <request >answer`,
		Args: oneAddress,
	}
	raw := cmd.Flags().Bool("raw", false, "print the server's bytes as they are, control sequences included")
	cmd.Flags().BoolVar(&noQuitWord, "no-quit-word", false, "send lines q and Q like any other")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long resolving and connecting may take; 0 leaves it to the kernel")
	addHalfClosedTimeout(cmd, &halfClosed, "server")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := peerAddress(args[0], timeout)
		if err == nil {
			err = checkHalfClosedTimeout(halfClosed)
		}
		if err != nil {
			return err
		}
		quitWord := !noQuitWord
		if !cmd.Flags().Changed("no-quit-word") {
			quitWord = !terminal.InputIsFile()
		}
		conn, err := terminal.Dial(context.Background(), to, timeout)
		if err != nil {
			return failure(err)
		}
		hello := "connected to %s; Ctrl-D ends the input"
		if quitWord {
			hello = "connected to %s; a line q or Ctrl-D ends the input"
		}
		return sessionError(terminal.Session{
			Conn: conn, QuitWord: quitWord, Raw: *raw, HalfClosedTimeout: halfClosed,
			Hello:   fmt.Sprintf(hello, terminal.PeerName(conn)),
			Goodbye: "the server closed the connection",
		}.Run())
	}
	return cmd
}

// newSender is the second process of connect and chat. It is started by them
// and of no use by hand.
func newSender() *cobra.Command {
	return &cobra.Command{
		Use:    terminal.SenderCommand + " ADDR",
		Hidden: true,
		Args:   cobra.ExactArgs(1),
		RunE: func(*cobra.Command, []string) error {
			code, err := terminal.RunSender()
			if err == nil && code != exitOK {
				return &exitError{code: code} // the first process has been told
			}
			return err
		},
	}
}

// oneAddress is what connect has for arguments.
func oneAddress(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s takes one address, and got %d: see %s --help", cmd.Name(), len(args), cmd.CommandPath())
	}
	return nil
}

// peerAddress parses the address of somebody to connect to.
func peerAddress(s string, timeout time.Duration) (config.Address, error) {
	address, err := config.ParseAddress(s)
	switch {
	case err != nil:
		return address, err
	case !address.IsUnix() && address.Port == 0:
		return address, fmt.Errorf("address %q: nobody can be reached at port 0", s)
	}
	return address, checkTimeout(timeout)
}

// addHalfClosedTimeout adds the flag for those who do not want to wait for the
// end of their input. peer is what the other side is called.
func addHalfClosedTimeout(cmd *cobra.Command, timeout *time.Duration, peer string) {
	cmd.Flags().DurationVar(timeout, "half-closed-timeout", 0,
		"give up a pipe on stdin that pauses for longer than this after the "+peer+" has ended its side; 0 waits for the end of the pipe")
}

func checkHalfClosedTimeout(timeout time.Duration) error {
	if timeout < 0 {
		return fmt.Errorf("--half-closed-timeout %v: a duration of 0 or more is needed", timeout)
	}
	return nil
}

func checkTimeout(timeout time.Duration) error {
	if timeout < 0 {
		return fmt.Errorf("--timeout %v: a duration of 0 or more is needed", timeout)
	}
	return nil
}

// sessionError gives the end of a session its exit code. A session that a
// signal ended ends the program by it.
func sessionError(err error) error {
	var signal *terminal.SignalError
	if errors.As(err, &signal) {
		signal.Die()
	}
	if err != nil {
		return failure(err)
	}
	return nil
}
