package systemd

import (
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

// queued returns the messages that wait for a manager whose goroutine does not run.
func queued(m *Manager) (states []string) {
	for {
		select {
		case msg := <-m.queue:
			states = append(states, msg.state)
		default:
			return states
		}
	}
}

// Reports are due often enough for the watchdog, and for those who read the status.
func TestReportsAreDue(t *testing.T) {
	for _, test := range []struct{ watchdog, want time.Duration }{
		{0, notifyInterval},
		{time.Minute, notifyInterval},
		{time.Second, time.Second / 4},
	} {
		synctest.Test(t, func(t *testing.T) {
			n := NewNotifier(&Manager{watchdog: test.watchdog})
			if n.Due() != nil {
				t.Error("something is due before Start")
			}
			n.Start()
			defer n.Stop()
			begun := time.Now()
			for i := range 3 {
				<-n.Due()
				if after := time.Since(begun); after != test.want*time.Duration(i+1) {
					t.Errorf("watchdog %v: report %d is due after %v, want every %v", test.watchdog, i, after, test.want)
				}
			}
		})
	}
}

// A status is sent when it has changed. One that was dropped is sent the next time.
func TestStatusIsSentOnce(t *testing.T) {
	m := &Manager{queue: make(chan message, queueSize)}
	n := NewNotifier(m)
	n.Status("serving")
	n.Status("serving")
	if got := queued(m); len(got) != 1 || got[0] != "STATUS=serving" {
		t.Errorf("sent %q, want one status", got)
	}
	for range maxBeforeDrop {
		m.Remove("a listener")
	}
	n.Status("draining") // too many messages wait
	queued(m)
	n.Status("draining")
	if got := queued(m); len(got) != 1 || got[0] != "STATUS=draining" {
		t.Errorf("sent %q after a status was dropped, want it", got)
	}
}

func TestNotifierWithoutManager(t *testing.T) {
	n := NewNotifier(nil)
	n.Start()
	defer n.Stop()
	n.Ready()
	n.Alive()
	n.Status("serving")
	if n.HasManager() || n.Due() != nil {
		t.Error("there is a manager")
	}
}

// When Upgrading returns, the manager has all that it was told before, whatever becomes of
// the program. The status is told anew by whoever goes on.
func TestUpgrading(t *testing.T) {
	m, conn, _ := silentManager(t)
	defer m.Close()
	n := NewNotifier(m)
	n.Status("serving")
	if err := m.Store("a", int(os.Stdin.Fd())); err != nil {
		t.Fatal(err)
	}
	if err := n.Upgrading(os.Stdin); err != nil {
		t.Fatal(err)
	}
	if waiting := len(m.queue); waiting != 0 {
		t.Errorf("%d messages wait", waiting)
	}
	for _, want := range []string{"STATUS=serving", "FDSTORE=1\nFDPOLL=0\nFDNAME=a"} {
		if got := read(t, conn); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	got := strings.Split(read(t, conn), "\n")
	if len(got) != 4 || got[0] != "RELOADING=1" || !strings.HasPrefix(got[1], "MONOTONIC_USEC=") || got[2] != "STATUS=upgrading" || got[3] != "WATCHDOG=1" {
		t.Errorf("got %q", got)
	}
	n.Ready()
	n.NotUpgrading()
	n.Status("serving")
	for _, want := range []string{
		"FDSTORE=1\nFDPOLL=0\nFDNAME=" + UpgradeName, "READY=1", "FDSTOREREMOVE=1\nFDNAME=" + UpgradeName, "STATUS=serving",
	} {
		if got := read(t, conn); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A manager that does not read is an error, and no wait without end.
func TestFlushFails(t *testing.T) {
	m, conn, _ := silentManager(t)
	fill(t, conn)
	m.Ready()
	if err := m.Flush(time.Millisecond); err == nil || !strings.Contains(err.Error(), "has not read its messages") {
		t.Errorf("%v", err)
	}
	conn.Close() // which ends the send
	m.Close()
	if err := m.Flush(slowtest.Scale(time.Minute)); err != errClosed {
		t.Errorf("after Close: %v", err)
	}
	if err := (*Manager)(nil).Flush(0); err != nil {
		t.Errorf("no manager: %v", err)
	}
}
