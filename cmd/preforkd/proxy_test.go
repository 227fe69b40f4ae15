package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// telling is a program that says whose connection it has, and sends back the
// first line that it gets.
const telling = `program = ["/bin/sh", "-c", 'read line; echo "$line from $TCPREMOTEIP $TCPREMOTEPORT at $TCPLOCALIP $TCPLOCALPORT, $REMOTE_ADDR $REMOTE_PORT $PROTO $TCPCONNNUM"']`

// v2 is a PROXY header of version 2 for TCP over IPv4.
func v2(command byte, addresses string) string {
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{command, 0x11, 0, byte(len(addresses))}) + addresses
}

// The client that a header names is the one that the worker sees; what follows
// the header is the handler's, to its first byte.
func TestProxyHeaders(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	m := configured(t, 2, `[service.one]
listen = ["127.0.0.1:0", "unix:`+path+`"]
`+telling+`
proxy-protocol = ["127.0.0.1", "unix"]
`)
	for name, c := range map[string]struct{ header, want string }{
		"v1":         {"PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\n", "hello from 192.0.2.1 40000 at 198.51.100.7 443, 192.0.2.1 40000 TCP 1\n"},
		"v1 over v6": {"PROXY TCP6 2001:db8::1 2001:db8::2 40000 443\r\n", "hello from 2001:db8::1 40000 at 2001:db8::2 443, 2001:db8::1 40000 TCP 1\n"},
		"v2":         {v2(0x21, "\xc0\x00\x02\x02\xc6\x33\x64\x07\x9c\x40\x01\xbb"), "hello from 192.0.2.2 40000 at 198.51.100.7 443, 192.0.2.2 40000 TCP 1\n"},
		"v2 mapped":  {"PROXY TCP6 ::ffff:192.0.2.3 ::ffff:198.51.100.7 40000 443\r\n", "hello from 192.0.2.3 40000 at 198.51.100.7 443, 192.0.2.3 40000 TCP 1\n"},
	} {
		for _, l := range m.Listeners {
			// In one piece with what follows, and byte by byte.
			for _, size := range []int{1000, 1} {
				conn := m.DialTo(t, l.Network, l.Address)
				for text := c.header + "hello\n"; text != ""; {
					n := min(size, len(text))
					conn.Send(t, text[:n])
					text = text[n:]
				}
				if got := conn.ExpectEnd(t); got != c.want {
					t.Errorf("%s over %s: got %q, want %q", name, l.Network, got, c.want)
				}
				conn.Close()
				m.WaitIdle(t) // or the next one is the source's second
			}
		}
	}
	// LOCAL and UNKNOWN are the proxy's own connections.
	for _, header := range []string{v2(0x20, ""), "PROXY UNKNOWN\r\n"} {
		c := m.Dial(t)
		c.Send(t, header+"hello\n")
		local := c.LocalAddr().(*net.TCPAddr)
		if got := c.ExpectEnd(t); !strings.HasPrefix(got, fmt.Sprintf("hello from 127.0.0.1 %d at 127.0.0.1 ", local.Port)) {
			t.Errorf("%q: got %q", header, got)
		}
	}
	// The log knows both.
	e := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Accepted && e.Peer == "192.0.2.1:40000" })
	if !strings.HasPrefix(e.Via, "127.0.0.1:") && !strings.HasPrefix(e.Via, "unix:") || e.Local != "198.51.100.7:443" {
		t.Errorf("%s", e.Line)
	}
}

// Whoever is not listed is a client like any other, whatever it says.
func TestProxyHeaderOfAStranger(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `proxy-protocol = ["192.0.2.0/24"]`))
	c := m.Dial(t)
	c.Echo(t, "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nhello\n")
	if e := c.Accepted(t); e.Via != "" {
		t.Errorf("%s", e.Line)
	}
}

// A header that is missing or wrong refuses with its reason, and one that is
// slow holds no process, no slot, and delays nobody.
func TestProxyHeaderThatIsWrong(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(telling, `max-connections = 1`, `proxy-protocol = ["127.0.0.0/8"]`, `proxy-timeout = "1h"`))
	for _, c := range []struct {
		text, reason string
		close        bool
	}{
		{"GET / HTTP/1.0\r\n\r\n", "proxy-missing", false},
		{"", "proxy-missing", true},
		{"PROXY TCP4 192.0.2.1 ", "proxy-malformed", true},
		{"PROXY TCP4 nowhere 198.51.100.7 40000 443\r\n", "proxy-malformed", false},
		{"PROXY TCP4 " + strings.Repeat("1", 120), "proxy-oversized", false},
		{"\r\n\r\n\x00\r\nQUIT\n\x21\x13\xff\xff", "proxy-malformed", false},
		{longHeader(60000, "\x01\x02\x03\x04"), "proxy-malformed", false},
	} {
		client := m.Dial(t)
		client.Send(t, c.text)
		if c.close {
			client.CloseWrite(t)
		}
		refusedFor(t, m, client, c.reason)
	}
	// More than may wait: the longest waiting ones make room.
	slow := m.DialAll(t, 300)
	for _, c := range slow {
		c.Send(t, "PROXY TCP4 ")
	}
	slow[0].ExpectGone(t)
	m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Refused && e.Reason == "proxy-crowded" })
	quick := m.Dial(t)
	quick.Send(t, "PROXY TCP4 192.0.2.1 198.51.100.7 40000 443\r\nhello\n")
	if got := quick.ExpectEnd(t); !strings.HasPrefix(got, "hello from 192.0.2.1") {
		t.Errorf("got %q", got)
	}
	m.WaitFor(t, systest.Is(systest.Reaped))
	if n := len(m.Events(systest.Is(systest.Accepted))); n != 1 {
		t.Errorf("%d workers for one header", n)
	}
	for _, c := range slow {
		c.Close()
	}
}

// longHeader is a PROXY header of version 2 for 192.0.2.2:40000 with as many bytes of
// an extension as a client's certificate may take, and a checksum if there is one.
func longHeader(bytes int, checksum string) string {
	extension := func(kind byte, value string) string {
		return string([]byte{kind, byte(len(value) >> 8), byte(len(value))}) + value
	}
	rest := "\xc0\x00\x02\x02\xc6\x33\x64\x07\x9c\x40\x01\xbb"
	if checksum != "" {
		rest += extension(3, checksum)
	}
	rest += extension(0x20, "\x01\x00\x00\x00\x00"+extension(0x28, strings.Repeat("c", bytes)))
	return "\r\n\r\n\x00\r\nQUIT\n" + string([]byte{0x21, 0x11, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

// A header may be as long as the format allows, which is more than the kernel keeps
// for a socket that nobody reads, and what follows it is the handler's.
func TestLongProxyHeaders(t *testing.T) {
	t.Parallel()
	path := systest.Dir(t) + "/s"
	m := configured(t, 2, `[service.one]
listen = ["127.0.0.1:0", "unix:`+path+`"]
`+telling+`
proxy-protocol = ["127.0.0.1", "unix"]
`)
	for _, l := range m.Listeners {
		for _, size := range []int{4500, 20000, 65535 - 12 - 3 - 5 - 3} {
			c := m.DialTo(t, l.Network, l.Address)
			c.Send(t, longHeader(size, "")+"hello\n")
			if got := c.ExpectEnd(t); !strings.HasPrefix(got, "hello from 192.0.2.2 40000 at 198.51.100.7 443,") {
				t.Errorf("with a certificate of %d bytes over %s: got %q", size, l.Network, got)
			}
		}
	}
}

// The log says what is wrong with a header, in a form that is harmless, and does
// not quote the header where it may not tell of peers.
func TestProxyHeaderErrorsInTheLog(t *testing.T) {
	t.Parallel()
	for _, logPeer := range []string{"full", "prefix", "none"} {
		m := configured(t, 1, "[master]\nlog-peer = \""+logPeer+"\"\n"+single(telling, `proxy-protocol = ["127.0.0.0/8"]`))
		for i, c := range []struct{ text, reason, says string }{
			{"GET /\x1b[2J HTTP/1.0\r\n\r\n", "proxy-missing", `the connection begins with "GET /\x1b[2J HTTP/1.0\r\n\r\n"`},
			{"PROXY TCP4 192.0.2.400 198.51.100.7 40000 443\r\n", "proxy-malformed", `192.0.2.400`},
			{"PROXY TCP4 " + strings.Repeat("1", 120), "proxy-oversized", `no end of line within 107 bytes`},
			{longHeader(100, "\x01\x02\x03\x04"), "proxy-malformed", `and it says 0x01020304`},
			{"\r\n\r\n\x00\r\nQUIT\n\x31", "proxy-malformed", `version 3`},
		} {
			client := m.Dial(t)
			client.Send(t, c.text)
			client.ExpectGone(t)
			e := m.Wait(t, i+1, systest.Is(systest.Refused))[i]
			if e.Reason != c.reason {
				t.Errorf("refused for %s: %s", c.reason, e.Line)
			}
			if told := strings.Contains(e.Error, c.says); told != (logPeer == "full") || logPeer != "full" && e.Error != "" {
				t.Errorf("log-peer = %s: no %q in %s", logPeer, c.says, e.Line)
			}
		}
		m.Stop(t)
	}
}

func TestProxyTimeout(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(telling, `proxy-protocol = ["127.0.0.0/8"]`, `proxy-timeout = "20ms"`))
	c := m.Dial(t)
	c.Send(t, "PROXY ")
	refusedFor(t, m, c, "proxy-timeout")
}

// A stop does not wait for headers.
func TestProxyHeaderAtTheEnd(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(telling, `proxy-protocol = ["127.0.0.0/8"]`, `proxy-timeout = "1h"`))
	c := m.Dial(t)
	c.Send(t, "PROXY ")
	systest.Until(t, "accepted", func() bool {
		m.Signal(t, syscall.SIGUSR1)
		return len(m.Events(func(e systest.Event) bool { return e.Msg == "status" && strings.Contains(e.Line, `"accepted":1`) })) > 0
	}, nil)
	m.Stop(t)
	refusedFor(t, m, c, "draining")
}

// Limits and rules are the client's, not the proxy's; and a client that has to
// wait for a slot does not keep others from being refused or served.
func TestLimitsBehindAProxy(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `max-connections-per-source = 1`, `deny = ["192.0.2.9"]`, `proxy-protocol = ["127.0.0.0/8"]`))
	from := func(address string) *systest.Client {
		c := m.Dial(t)
		c.Send(t, "PROXY TCP4 "+address+" 198.51.100.7 40000 443\r\n")
		return c
	}
	from("192.0.2.1").Echo(t, "hello")
	from("192.0.2.2").Echo(t, "hello")
	from("192.0.2.1").ExpectGone(t)
	from("192.0.2.9").ExpectGone(t)
	reasons := map[string]string{}
	for _, e := range m.Wait(t, 2, systest.Is(systest.Refused)) {
		reasons[e.Source] = e.Reason
	}
	if reasons["192.0.2.1/32"] != "max-connections-per-source" || reasons["192.0.2.9/32"] != "denied" {
		t.Errorf("%v", reasons)
	}
}

// A slot that becomes free goes to a client whose header is long read.
func TestWaitingBehindAProxy(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting, `max-connections = 1`, `proxy-protocol = ["127.0.0.0/8"]`))
	var clients []*systest.Client
	for i := range 6 {
		c := m.Dial(t)
		c.Send(t, fmt.Sprintf("PROXY TCP4 192.0.2.%d 198.51.100.7 40000 443\r\n", i))
		clients = append(clients, c)
	}
	served := 0
	for range clients {
		e := m.Wait(t, served+1, systest.Is(systest.Accepted))[served]
		var i int
		fmt.Sscanf(e.Peer, "192.0.2.%d:", &i)
		clients[i].Echo(t, "hello")
		clients[i].Close()
		served++
	}
}

// A real balancer in front: the worker sees the balancer's client.
func TestBehindHAProxy(t *testing.T) {
	t.Parallel()
	haproxy := systest.Need(t, "haproxy")
	for _, send := range []string{"send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options unique-id,crc32c"} {
		t.Run(send, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, single(telling, `proxy-protocol = ["127.0.0.0/8"]`, `deny = ["127.0.0.66"]`))
			// It is handed its socket, so that nobody has to guess a port.
			l, err := net.Listen("tcp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			socket, err := l.(*net.TCPListener).File()
			if err != nil {
				t.Fatal(err)
			}
			front := l.Addr().String()
			l.Close()
			file := systest.Dir(t) + "/haproxy.cfg"
			if err := os.WriteFile(file, []byte(`
defaults
  mode tcp
  timeout connect 60s
  timeout client 60s
  timeout server 60s
frontend f
  bind fd@3
  unique-id-format %[uuid()]
  default_backend b
backend b
  server s `+m.Listeners[0].Address+" "+send+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(haproxy, "-db", "-f", file)
			cmd.ExtraFiles = []*os.File{socket}
			var output strings.Builder
			cmd.Stderr = &output
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			socket.Close()
			t.Cleanup(func() {
				cmd.Process.Kill()
				cmd.Wait()
				if t.Failed() {
					t.Log(output.String())
				}
			})
			dial := func(source string) *systest.Client {
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
				conn, err := d.DialContext(t.Context(), "tcp", front)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				return m.Wrap(conn)
			}
			c := dial("127.0.0.5")
			c.Send(t, "hello\n")
			local, remote := c.LocalAddr().(*net.TCPAddr), c.RemoteAddr().(*net.TCPAddr)
			want := fmt.Sprintf("hello from 127.0.0.5 %d at 127.0.0.1 %d, 127.0.0.5 %d TCP 1\n", local.Port, remote.Port, local.Port)
			if got := c.ExpectEnd(t); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			refusedFor(t, m, dial("127.0.0.66"), "denied")
		})
	}
}
