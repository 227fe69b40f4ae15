package main

import (
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// As pid 1 of a container the master is every orphan's parent and the kernel
// spares it the signals it does not handle. It reaps strangers, stops when told
// to, and its workers do as well.
func TestAsPID1(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	unshare := systest.Need(t, "unshare")
	systest.Need(t, "setsid")
	for name, sig := range map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := systest.NewGate(t)
			m := systest.Options{
				Attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID},
				Wrap: []string{unshare, "--mount-proc", "--"},
				Args: append([]string{"--kill-delay", "50ms", "--leftovers", "keep"}, program(sh(
					// A child of its own session, which the worker leaves behind.
					`read line; setsid sh -c 'read go < `+gate.Path+`' <&2 & echo "$line $PPID"; read line`)...)...),
			}.Start(t)
			m.OwnPIDs = true
			c := m.Dial(t)
			c.Send(t, "parent\n")
			c.Expect(t, "parent 1\n") // the master really is pid 1
			c.Close()
			end := c.End(t)
			if end.Code() != 1 && end.Code() != 0 || end.Signal != "" {
				t.Errorf("unexpected end: %s", end.Line)
			}
			systest.Until(t, "the parent of the orphan", func() bool { return len(systest.Children(m.PID)) == 1 }, nil)
			stranger := systest.Children(m.PID)[0].PID
			gate.Open(t)
			systest.Until(t, "a reaped stranger", func() bool { _, there := systest.Stat(stranger); return !there }, nil)

			// Another one lives, and holds the log, when the master stops.
			d := m.Dial(t)
			d.Send(t, "another\n")
			d.Expect(t, "another 1\n")
			d.Close()
			d.End(t)
			m.Signal(t, sig)
			stopped(t, m)
		})
	}
}
