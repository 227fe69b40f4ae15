package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/preforkd/preforkd/cmd/internal/terminal"
	"github.com/preforkd/preforkd/master/config"
)

func newChat() *cobra.Command {
	var listen, name string
	var timeout, halfClosed time.Duration
	cmd := &cobra.Command{
		Use:   "chat {--listen ADDR | ADDR}",
		Short: "Talk to one other person, directly",
		Long: `chat connects two terminals. One side waits for a peer with --listen, exactly
one, and the other names the address it listens at. The lines of both are told
apart by what stands before them, and by colour unless NO_COLOR is set.

Ctrl-D ends one's own side, Ctrl-C the chat. The chat ends when the peer closes.
A file or a pipe on stdin is sent to its end before, as with connect.

What the peer sends is made safe to print on a terminal. When stdout is not one,
every byte is passed on as it is; everything about the chat itself is on stderr.

ADDR is host:port, :port (every address of this machine), [v6]:port, unix:/path
or unix:@name. With --listen port 0 lets the kernel choose one.`,
		Example: `  preforkd chat --listen :7100 --name alice
  preforkd chat alices-machine:7100 --name bob`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil // --listen may have it
			}
			return oneAddress(cmd, args)
		},
	}
	raw := cmd.Flags().Bool("raw", false, "print the peer's bytes as they are, control sequences included, without names")
	cmd.Flags().StringVar(&listen, "listen", "", "wait for one peer at `ADDR`")
	cmd.Flags().StringVar(&name, "name", "", "go by a `NAME`: it stands before your lines, and the peer is told once, when you are at a terminal")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long connecting may take, or, when given with --listen, how long to wait for the peer; 0 is without limit")
	addHalfClosedTimeout(cmd, &halfClosed, "peer")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkHalfClosedTimeout(halfClosed); err != nil {
			return err
		}
		if cmd.Flags().Changed("name") {
			if err := terminal.CheckName(name); err != nil {
				return fmt.Errorf("--name %q: %w", name, err)
			}
		}
		open := dialPeer
		listening := cmd.Flags().Changed("listen")
		switch {
		case listening && len(args) > 0:
			return errors.New("chat takes --listen ADDR or ADDR, not both")
		case listening:
			args, open = []string{listen}, awaitPeer
			if !cmd.Flags().Changed("timeout") {
				timeout = 0
			}
		case len(args) == 0:
			return errors.New("chat needs an address: --listen ADDR to wait for a peer, or the ADDR where one waits")
		}
		conn, err := open(args[0], timeout)
		if err != nil {
			return err
		}
		verb := "connected to"
		if listening {
			verb = "connection from"
		}
		return sessionError(terminal.Session{
			Conn: conn, Raw: *raw, Chat: true, Name: name, HalfClosedTimeout: halfClosed,
			Hello:   fmt.Sprintf("%s %s; Ctrl-D ends your side", verb, terminal.PeerName(conn)),
			Goodbye: "the peer closed the connection",
		}.Run())
	}
	return cmd
}

func dialPeer(s string, timeout time.Duration) (net.Conn, error) {
	to, err := peerAddress(s, timeout)
	if err != nil {
		return nil, err
	}
	conn, err := terminal.Dial(context.Background(), to, timeout)
	if err != nil {
		return nil, failure(err)
	}
	return conn, nil
}

func awaitPeer(s string, timeout time.Duration) (net.Conn, error) {
	at, err := config.ParseAddress(s)
	if err == nil {
		err = checkTimeout(timeout)
	}
	if err != nil {
		return nil, err
	}
	conn, err := terminal.AcceptOne(at, timeout, func(address string) {
		fmt.Fprintf(os.Stderr, "listening on %s, for one peer\n", address)
	})
	if err != nil {
		return nil, failure(err)
	}
	return conn, nil
}
