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

// Options are the parameters of Run.
type Options struct {
	Source   Source
	Interval time.Duration // between two requests; 0 means Interval
	Input    *os.File      // the terminal, as is Output
	Output   *os.File
	Getenv   func(string) string
}

// ErrTerminal is the error when top cannot draw on the terminal.
var ErrTerminal = errors.New("preforkd status prints one look anywhere")

// Run draws until the user quits. It returns nil after a key, SIGINT, SIGTERM or
// SIGHUP. It returns an ErrTerminal when it cannot draw on the terminal.
func Run(o Options) error {
	savedModes, err := checkTerminal(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // requests that still run are no longer needed
	program := tea.NewProgram(newModel(ctx, o.Source, cmp.Or(o.Interval, Interval)),
		tea.WithInput(o.Input), tea.WithOutput(o.Output),
		tea.WithoutSignalHandler(), tea.WithFilter(interruptToQuit))
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer signal.Stop(signals)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case s := <-signals:
			// The loop may be blocked in a write, because nobody reads from the
			// terminal.
			force := time.AfterFunc(forceQuitAfter, func() { exitBySignal(s.(syscall.Signal), int(o.Input.Fd()), savedModes) })
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

// checkTerminal returns the modes of the terminal. It returns an error when top cannot
// draw on the terminal.
func checkTerminal(o Options) (*unix.Termios, error) {
	modes, err := unix.IoctlGetTermios(int(o.Input.Fd()), unix.TCGETS)
	if err == nil {
		_, err = unix.IoctlGetTermios(int(o.Output.Fd()), unix.TCGETS)
	}
	if err != nil {
		return nil, fmt.Errorf("top needs a terminal to read keys from and to draw on; %w", ErrTerminal)
	}
	if kind := o.Getenv("TERM"); kind == "dumb" || kind == "" {
		return nil, fmt.Errorf("top cannot draw on a terminal of the kind TERM=%q; %w", kind, ErrTerminal)
	}
	return modes, nil
}

// interruptToQuit turns an interrupt into a normal quit. After an interrupt, Bubble Tea
// closes the descriptors of its reader while the reader still uses them.
func interruptToQuit(_ tea.Model, message tea.Msg) tea.Msg {
	if _, interrupted := message.(tea.InterruptMsg); interrupted {
		return tea.QuitMsg{}
	}
	return message
}

// forceQuitAfter is the time after which an exit by a signal is forced.
const forceQuitAfter = 2 * time.Second

// exitBySignal restores the terminal's modes and ends the program with a signal. The
// drawn frame stays, because the terminal accepts no more output.
func exitBySignal(s syscall.Signal, terminal int, savedModes *unix.Termios) {
	unix.IoctlSetTermios(terminal, unix.TCSETS, savedModes)
	signal.Reset(s)
	unix.Kill(os.Getpid(), s)
}
