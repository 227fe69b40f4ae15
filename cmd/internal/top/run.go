package top

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	tea "charm.land/bubbletea/v2"
	"golang.org/x/sys/unix"
)

// Options say what is looked at and where it is drawn.
type Options struct {
	Source   Source
	Interval time.Duration // between two looks; 0 for Interval
	Input    *os.File      // the terminal, as is Output
	Output   *os.File
	Getenv   func(string) string
}

// ErrTerminal is the error of a terminal that nothing can be drawn on.
var ErrTerminal = errors.New("preforkd status prints one look anywhere")

// Run draws until somebody has seen enough. It returns nil after a key, SIGINT,
// SIGTERM or SIGHUP, and an ErrTerminal when there is nothing to draw on.
func Run(o Options) error {
	found, err := usable(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // what is under way in the end is of no interest any more
	program := tea.NewProgram(newModel(ctx, o.Source, cmp.Or(o.Interval, Interval)),
		tea.WithInput(o.Input), tea.WithOutput(o.Output),
		tea.WithoutSignalHandler(), tea.WithFilter(quitInstead))
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(caught)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case s := <-caught:
			// The loop may be blocked in a write: nobody may be reading the
			// terminal any more.
			force := time.AfterFunc(tooLong, func() { die(s.(syscall.Signal), int(o.Input.Fd()), found) })
			program.Quit()
			<-ended
			force.Stop()
		case <-ended:
		}
	}()
	if _, err := program.Run(); err != nil {
		return fmt.Errorf("draw on the terminal: %w", err)
	}
	return nil
}

// usable returns the state of the terminal, or why nothing can be drawn on it.
func usable(o Options) (*unix.Termios, error) {
	found, err := unix.IoctlGetTermios(int(o.Input.Fd()), unix.TCGETS)
	if err == nil {
		_, err = unix.IoctlGetTermios(int(o.Output.Fd()), unix.TCGETS)
	}
	if err != nil {
		return nil, fmt.Errorf("top needs a terminal to read keys from and to draw on; %w", ErrTerminal)
	}
	if kind := o.Getenv("TERM"); kind == "dumb" || kind == "" {
		return nil, fmt.Errorf("top cannot draw on a terminal of the kind TERM=%q; %w", kind, ErrTerminal)
	}
	return found, nil
}

// quitInstead turns an interruption into an orderly end: after the other kind,
// Bubble Tea closes the descriptors of its reader while that still uses them.
func quitInstead(_ tea.Model, message tea.Msg) tea.Msg {
	if _, interrupted := message.(tea.InterruptMsg); interrupted {
		return tea.QuitMsg{}
	}
	return message
}

// tooLong is how long an end by a signal may take before it is forced.
const tooLong = 2 * time.Second

// die ends the program by a signal, with the terminal's modes as they were.
// What is drawn cannot be taken away: the terminal takes no more.
func die(s syscall.Signal, terminal int, found *unix.Termios) {
	unix.IoctlSetTermios(terminal, unix.TCSETS, found)
	signal.Reset(s)
	unix.Kill(os.Getpid(), s)
}
