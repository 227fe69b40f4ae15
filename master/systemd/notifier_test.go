package systemd

import (
	"testing"
	"testing/synctest"
	"time"
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
