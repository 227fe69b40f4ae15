package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What a program does with the terminal of a foreground master does not stop it
// (SIGTTIN, SIGTTOU), as job control stops background jobs: the terminal is not
// the program's. With tostop that would even happen to one that only writes to
// stderr.
func TestProgramsAtTheTerminal(t *testing.T) {
	t.Parallel()
	for name, script := range map[string]string{
		"sets it up by its name":    `stty -echo </dev/tty`,
		"asks it by its name":       `stty -a </dev/tty >/dev/tty`,
		"reads from it by its name": `read line </dev/tty`,
		"writes to it by its name":  `echo words >/dev/tty`,
		"writes to stderr":          `echo words >&2`,
		"sets it up by stderr":      `stty opost <&2`,
		"stops its group":           `kill -TSTP 0`,
	} {
		for spares, args := range map[string][]string{"": nil, ", a spare": {"--spares", "1"}} {
			t.Run(name+spares, func(t *testing.T) {
				t.Parallel()
				m := systest.Options{Terminal: true, Args: append(args, program(sh(script+`; echo done`)...)...)}.Start(t)
				settings, err := unix.IoctlGetTermios(int(m.Terminal.Fd()), unix.TCGETS)
				if err != nil {
					t.Fatal(err)
				}
				settings.Lflag |= unix.TOSTOP
				if err := unix.IoctlSetTermios(int(m.Terminal.Fd()), unix.TCSETS, settings); err != nil {
					t.Fatal(err)
				}
				c := m.Dial(t)
				c.Expect(t, "done\n")
				c.ExpectEnd(t)
				c.End(t)
			})
		}
	}
}

// A worker has no controlling terminal.
func TestNoControllingTerminal(t *testing.T) {
	t.Parallel()
	for name, args := range handoffs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{Terminal: true, Args: args}.Start(t)
			c := dialSpare(t, m)
			c.Echo(t, "hello")
			if p, ok := systest.Stat(c.Worker(t)); !ok || p.Terminal != 0 {
				t.Errorf("the worker has a controlling terminal: %+v", p)
			}
			if p, _ := systest.Stat(m.PID); p.Terminal == 0 {
				t.Errorf("the master has none that could be inherited: %+v", p)
			}
		})
	}
}
