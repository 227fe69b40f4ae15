package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// privateConfig has a service for each way in which the log may name a peer:
// with spares and without, behind a proxy, one that refuses, one whose workers
// end badly, and one that cannot start any.
const privateConfig = `[master]
log-peer = "%s"
[service.plain]
listen = ["127.0.0.2:0"]
program = ["/bin/cat"]
[service.spared]
listen = ["127.0.0.2:0"]
program = ["/bin/cat"]
spares = 1
[service.proxied]
listen = ["127.0.0.2:0"]
program = ["/bin/cat"]
proxy-protocol = ["127.0.0.0/8"]
[service.refusing]
listen = ["127.0.0.2:0"]
program = ["/bin/cat"]
deny = ["127.0.0.0/8"]
[service.failing]
listen = ["127.0.0.2:0"]
program = ["/bin/sh", "-c", "echo trouble >&2; exit 3"]
stderr = "log"
penalty-exit-codes = [3]
penalty = "10m"
[service.tried]
listen = ["127.0.0.2:0"]
program = ["/bin/sh", "-c", "exit 3"]
penalty-exit-codes = [3]
penalty = "10m"
penalty-dry-run = true
[service.absent]
listen = ["127.0.0.2:0"]
program = ["%s"]
[service.local]
listen = ["unix:%s"]
program = ["/bin/cat"]
`

// No line of the log and no status names a client more exactly than log-peer
// lets it be known, whatever becomes of its connection.
func TestLogPeer(t *testing.T) {
	t.Parallel()
	for level, shown := range map[string]struct{ peer, proxied, via, source, unix string }{
		"full":   {"127.0.0.1:", "203.0.113.77:4000", "127.0.0.1:", "127.0.0.1/32", fmt.Sprintf("unix:uid=%d,pid=", os.Getuid())},
		"prefix": {"127.0.0.0/24", "203.0.113.0/24", "127.0.0.0/24", "127.0.0.0/24", fmt.Sprintf("unix:uid=%d", os.Getuid())},
		"none":   {},
	} {
		t.Run(level, func(t *testing.T) {
			t.Parallel()
			dir := systest.Dir(t)
			gone := filepath.Join(dir, "gone")
			if err := os.WriteFile(gone, []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			m := systest.Options{
				Config: fmt.Sprintf(privateConfig, level, gone, filepath.Join(dir, "local")), Listeners: 8,
				Args: []string{"--log-level", "debug"},
			}.Start(t)
			m.Spares = 1
			m.WaitSpares(t, 1)
			m.Baseline(t)
			if err := os.Remove(gone); err != nil {
				t.Fatal(err)
			}
			at := map[string]systest.Listener{}
			for _, l := range m.Listeners {
				at[l.Service] = l
			}
			dial := func(service string) *systest.Client { return m.DialTo(t, at[service].Network, at[service].Address) }
			event := func(service, msg string, n int) systest.Event {
				t.Helper()
				is := func(e systest.Event) bool { return e.Msg == msg && e.Service == service }
				systest.Until(t, fmt.Sprintf("%d %s of %s", n, msg, service), func() bool { return len(m.Events(is)) >= n }, nil)
				return m.Events(is)[n-1]
			}
			begins := func(what, got, want string) {
				t.Helper()
				if !strings.HasPrefix(got, want) || want == "" && got != "" {
					t.Errorf("%s is %q, want %q", what, got, want)
				}
			}

			var live []*systest.Client
			for service, want := range map[string]string{"plain": shown.peer, "spared": shown.peer, "local": shown.unix} {
				c := dial(service)
				c.Echo(t, "hello")
				begins(service, event(service, "accepted", 1).Peer, want)
				live = append(live, c)
			}
			c := dial("proxied")
			c.Send(t, "PROXY TCP4 203.0.113.77 192.0.2.1 4000 80\r\n")
			c.Echo(t, "hello")
			accepted := event("proxied", "accepted", 1)
			begins("the client of a proxy", accepted.Peer, shown.proxied)
			if via := fmt.Sprintf(`"via":"%s`, shown.via); (level != "none") != strings.Contains(string(accepted.Line), via) {
				t.Errorf("the proxy is not there as it should: %s", accepted.Line)
			}
			live = append(live, c)

			for _, header := range []string{"nothing of the kind\r\n", "PROXY TCP4 203.0.113.77 x 4000 80\r\n"} {
				c := dial("proxied")
				c.Send(t, header)
				c.ExpectGone(t)
			}
			dial("refusing").ExpectGone(t)
			refused := event("refusing", "refused", 1)
			begins("a refused client", refused.Peer, shown.peer)
			if source := fmt.Sprintf(`"source":"%s"`, shown.source); (level != "none") != strings.Contains(string(refused.Line), source) {
				t.Errorf("the source is not there as it should: %s", refused.Line)
			}
			for _, service := range []string{"failing", "tried"} {
				dial(service).ExpectGone(t)
				event(service, "penalized", 1)
				dial(service).ExpectGone(t)
			}
			event("failing", "refused", 1)
			event("failing", "stderr", 1)
			event("tried", "spared", 1)
			dial("absent").ExpectGone(t)
			event("absent", "spawn failed", 1)

			status := systest.Run(t, "status", "--json", "--control", m.Control)
			people := systest.Run(t, "status", "--control", m.Control)
			if status.Code != 0 || people.Code != 0 || strings.Contains(people.Stdout, "no connections") {
				t.Fatalf("%+v\n%+v", status, people)
			}
			m.Signal(t, syscall.SIGUSR1)
			for _, c := range live {
				c.Close()
			}
			for _, service := range []string{"plain", "spared", "proxied", "local"} {
				event(service, "reaped", 1)
			}
			if level == "full" {
				return
			}
			m.Signal(t, syscall.SIGTERM)
			stopped(t, m)
			texts := []string{status.Stdout, people.Stdout}
			for _, e := range m.Events(func(systest.Event) bool { return true }) {
				texts = append(texts, string(e.Line))
			}
			for _, text := range texts {
				for _, secret := range []string{"127.0.0.1", "203.0.113.77", ",pid="} {
					if strings.Contains(text, secret) {
						t.Errorf("%s is told: %s", secret, text)
					}
				}
			}
		})
	}
}

// A reload holds for connections that are live, too.
func TestLogPeerReloads(t *testing.T) {
	t.Parallel()
	config := func(level string) string {
		return "[master]\nlog-peer = \"" + level + "\"\n[service.cat]\nlisten = [\"127.0.0.1:0\"]\nprogram = [\"/bin/cat\"]\n"
	}
	m := systest.Options{Config: config("full")}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	conn := c.Accepted(t).Conn
	m.WriteConfig(t, config("none"))
	m.Signal(t, syscall.SIGHUP)
	m.WaitFor(t, systest.Is("reloaded"))
	c.Close()
	end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == "reaped" && e.Conn == conn })
	if end.Peer != "" {
		t.Errorf("told after the reload: %s", end.Line)
	}
}
