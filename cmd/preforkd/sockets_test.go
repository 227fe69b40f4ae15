package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// The status tells what has gone over connections whose descriptors only their
// workers have, behind a proxy too, and how many wait at a unix socket.
func TestStatusAsksTheKernel(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "socket")
	m := systest.Options{Config: fmt.Sprintf(`
[service.plain]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
[service.wide]
listen = [":0"]
program = ["/bin/cat"]
[service.proxied]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
proxy-protocol = ["127.0.0.0/8"]
[service.local]
listen = ["unix:%s"]
program = ["/bin/cat"]
max-connections = 1
`, path), Listeners: 4}.Start(t)
	at := map[string]systest.Listener{}
	for _, l := range m.Listeners {
		at[l.Service] = l
	}
	looks := func(what string, holds func(s control.Status) bool) {
		t.Helper()
		var s control.Status
		systest.Until(t, what, func() bool { s = looked(t, m); return holds(s) }, func() string { return fmt.Sprintf("%+v", s) })
	}
	const header = "PROXY TCP4 203.0.113.77 192.0.2.1 4000 80\r\n"
	dial := map[string]func() *systest.Client{
		"plain":   func() *systest.Client { return m.DialTo(t, "tcp", at["plain"].Address) },
		"wide":    func() *systest.Client { return m.DialTo(t, "tcp4", "127.0.0.1:"+at["wide"].Port()) },
		"proxied": func() *systest.Client { return m.DialTo(t, "tcp", at["proxied"].Address) },
	}
	for service, connect := range dial {
		c, in := connect(), uint64(5000)
		if service == "proxied" {
			c.Send(t, header)
			in += uint64(len(header))
		}
		c.Echo(t, strings.Repeat("x", 5000))
		looks("bytes of "+service, func(s control.Status) bool {
			for _, conn := range s.Connections {
				if conn.Service == service && conn.BytesIn != nil && conn.BytesOut != nil {
					return *conn.BytesIn == in && *conn.BytesOut == 5000
				}
			}
			return false
		})
	}
	// One is served and has no account, the others wait.
	local := m.DialTo(t, "unix", path)
	local.Echo(t, "hello")
	for range 3 {
		m.DialTo(t, "unix", path)
	}
	looks("three that wait", func(s control.Status) bool {
		for _, conn := range s.Connections {
			if conn.Service == "local" && (conn.BytesIn != nil || conn.BytesOut != nil) {
				t.Fatalf("%+v", conn)
			}
		}
		queue := s.Services[3].Listeners[0]
		return queue.Queue != nil && *queue.Queue == 3 && *queue.Backlog > 0
	})
}
