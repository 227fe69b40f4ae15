package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A nameServer answers 127.0.0.1 for every name, as often as answers says, and is
// silent after that.
type nameServer struct {
	conn    net.PacketConn
	answers atomic.Int64 // to questions for an IPv4 address
	asked   atomic.Int64 // such questions
}

// startNameServer starts a name server. Its options have a master ask it, in a
// mount namespace of its own.
func startNameServer(t *testing.T, text string) (*nameServer, systest.Options) {
	t.Helper()
	systest.NeedRoot(t)
	unshare := systest.Need(t, "unshare")
	const address = "127.53.0.1"
	conn, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s := &nameServer{conn: conn}
	go s.run()
	resolv := filepath.Join(systest.Dir(t), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver "+address+"\noptions attempts:1 timeout:30\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	return s, systest.Options{
		Config: text,
		Wrap:   []string{unshare, "--mount", "/bin/sh", "-c", `mount --bind ` + resolv + ` "$(readlink -f /etc/resolv.conf)" && exec "$@"`, "sh"},
	}
}

func (s *nameServer) run() {
	buf := make([]byte, 1500)
	for {
		n, from, err := s.conn.ReadFrom(buf)
		if err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
			continue
		}
		q := m.Questions[0]
		m.Response = true
		m.Additionals = nil
		if q.Type == dnsmessage.TypeA {
			s.asked.Add(1)
			if s.answers.Add(-1) < 0 {
				continue
			}
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type},
				Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
			}}
		}
		if packed, err := m.Pack(); err == nil {
			_, _ = s.conn.WriteTo(packed, from)
		}
	}
}

// A name is looked up once for a configuration, and never on the loop. So a name
// server that is silent afterwards keeps neither the start nor a reload waiting,
// and one that is silent during a reload keeps nothing else waiting.
func TestSilentNameServer(t *testing.T) {
	ports := held(t, 2)
	name := func(i int) string { return strings.Replace(ports[i], "127.0.0.1", "preforkd.test.", 1) }
	config := func(i int) string {
		return fmt.Sprintf("[service.one]\nlisten = [%q]\n%s\n", name(i), catting)
	}
	s, options := startNameServer(t, config(0))
	s.answers.Store(1)
	m := options.Start(t)
	s.answers.Store(1)
	if e := m.Reload(t, config(1)); e.Msg != systest.Reloaded {
		t.Errorf("%s", e.Line)
	}
	m.Baseline(t) // another listener than at the start
	if n := s.asked.Load(); n != 2 {
		t.Errorf("asked %d times for two configurations of one name", n)
	}

	// From here on the server is silent. What happens on the loop meanwhile is
	// in the log before the end of the reload.
	s.answers.Store(0)
	m.WriteConfig(t, config(0))
	m.Signal(t, syscall.SIGHUP)
	systest.Until(t, "the name server was asked", func() bool { return s.asked.Load() == 3 }, nil)
	c := m.DialTo(t, "tcp", ports[1])
	c.Echo(t, "hello\n")
	c.CloseWrite(t)
	c.ExpectEnd(t)
	c.End(t)
	if r := systest.Run(t, "status", "--control", m.Control); r.Code != 0 {
		t.Errorf("%+v", r)
	}
	if late := m.Events(systest.Is(systest.NotReloaded)); len(late) > 0 {
		t.Errorf("the reload was over before: %s", late[0].Line)
	}
	// The name server's silence ends it, and nothing has changed.
	if e := m.WaitFor(t, systest.Is(systest.NotReloaded)); !strings.Contains(e.Error, "lookup preforkd.test.") {
		t.Errorf("%s", e.Line)
	}
}
