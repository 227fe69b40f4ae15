package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// reply is what the programs of these tests answer, and answering is a program that
// does so without reading.
var (
	reply     = strings.Repeat("0123456789abcdef", 256)
	answering = `i=0; while [ $i -lt 256 ]; do printf 0123456789abcdef; i=$((i+1)); done`
)

// Every client gets the whole reply of a program that does not read its request.
func TestReplyWithoutReading(t *testing.T) {
	t.Parallel()
	for _, network := range []string{"tcp", "unix"} {
		for _, keys := range []string{`handoff = "stdio"`, "handoff = \"stdio\"\nspares = 4", `handoff = "systemd"`, "handoff = \"systemd\"\nspares = 4", `leftovers = "keep"`} {
			t.Run(network+" "+strings.ReplaceAll(keys, "\n", " "), func(t *testing.T) {
				t.Parallel()
				listen := "127.0.0.1:0"
				if network == "unix" {
					listen = "unix:" + filepath.Join(systest.Dir(t), "s")
				}
				script := answering
				if strings.Contains(keys, "systemd") {
					script = "exec >&3; " + answering
				}
				m := systest.Options{Config: fmt.Sprintf("[service.one]\nlisten = [%q]\nprogram = [\"/bin/sh\", \"-c\", %q]\n%s\n", listen, script, keys)}.Start(t)
				if strings.Contains(keys, "spares") {
					m.Spares = 4
					m.WaitSpares(t, 4)
					m.Baseline(t)
				}
				const clients, atOnce = 300, 30
				next := make(chan struct{}, clients)
				for range clients {
					next <- struct{}{}
				}
				close(next)
				var all sync.WaitGroup
				var mu sync.Mutex
				lost, example := 0, error(nil)
				for range atOnce {
					all.Go(func() {
						for range next {
							if err := ask(m); err != nil {
								mu.Lock()
								lost, example = lost+1, err
								mu.Unlock()
							}
						}
					})
				}
				all.Wait()
				if lost > 0 {
					t.Errorf("%d of %d clients lost the reply, one of them: %v", lost, clients, example)
				}
			})
		}
	}
}

// ask sends a request of several KB and reads the reply to its end.
func ask(m *systest.Master) error {
	c, err := m.TryDial()
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, strings.Repeat("request ", 1000)); err != nil && !errors.Is(err, syscall.EPIPE) {
		return fmt.Errorf("send: %w", err)
	}
	switch got, err := io.ReadAll(c); {
	case err != nil:
		return fmt.Errorf("%d bytes of the reply, then: %w", len(got), err)
	case string(got) != reply:
		return fmt.Errorf("%d bytes of the reply", len(got))
	}
	return nil
}

// A client that goes on sending after the program has ended gets the reply, whether
// the program ends by itself or is killed. Meanwhile the slot is free.
func TestLateRequest(t *testing.T) {
	t.Parallel()
	for name, program := range map[string]string{
		"exit": answering,
		"kill": answering + `; kill -9 $$`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := configured(t, 1, single(fmt.Sprintf(`program = ["/bin/sh", "-c", %q]`, program), `max-connections = 1`))
			var clients []*systest.Client
			for range 3 {
				c := m.Dial(t)
				clients = append(clients, c)
				c.Send(t, "early")
				c.End(t)
			}
			for _, c := range clients {
				for range 10 {
					// A reset would come with the answer to what was sent before.
					c.Send(t, strings.Repeat("late ", 1000))
				}
				if got := c.ExpectEnd(t); got != reply {
					t.Errorf("%d bytes of the reply", len(got))
				}
			}
		})
	}
}

// A client that never closes and one that never stops sending have their time and
// no more: the test ends when the master has no descriptor of theirs.
func TestLingeringIsBounded(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(`program = ["/bin/true"]`))
	silent := m.Dial(t)
	silent.End(t)
	flood := m.Dial(t)
	flood.End(t)
	piece := make([]byte, 64<<10)
	for sent := 0; ; sent += len(piece) {
		if _, err := flood.Write(piece); err != nil {
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			break
		}
		if sent > 256<<20 {
			t.Fatalf("%d bytes were taken", sent)
		}
	}
	m.WaitIdle(t)
}

// The client of a program that closes its connection and works on sees the end at
// that time, and not when the program ends.
func TestProgramClosesEarly(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string]string{
		"stdio":   `handoff = "stdio"`,
		"spare":   "handoff = \"stdio\"\nspares = 1",
		"systemd": `handoff = "systemd"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := systest.NewGate(t)
			script := `exec 5>&1; [ -n "$LISTEN_FDS" ] && exec 5>&3; echo bye >&5; exec 0<&- 1>&- 3>&- 5>&-; read line <` + gate.Path
			m := configured(t, 1, single(fmt.Sprintf(`program = ["/bin/sh", "-c", %q]`, script), keys))
			if name == "spare" {
				m.Spares = 1
				m.WaitSpares(t, 1)
				m.Baseline(t)
			}
			c := m.Dial(t)
			if got := c.ExpectEnd(t); got != "bye\n" {
				t.Errorf("%q", got)
			}
			pid := c.Worker(t)
			if !systest.Alive(pid) {
				t.Error("the program has ended")
			}
			gate.Open(t)
			c.End(t)
		})
	}
}

func init() { systest.Register("moved", func([]string) int { return moved() }) }

// moved is an echo that moves its connection to another descriptor first.
func moved() int {
	const place = 30
	if err := unix.Dup3(0, place, 0); err != nil {
		return fail("move the connection: %v", err)
	}
	for fd := range 2 {
		unix.Close(fd)
	}
	conn := os.NewFile(place, "connection")
	if _, err := io.Copy(conn, conn); err != nil {
		return fail("echo: %v", err)
	}
	return 0
}

// A program that keeps its connection elsewhere than where it got it loses nothing
// when the master gives its copy up.
func TestProgramMovesConnection(t *testing.T) {
	t.Parallel()
	line, err := json.Marshal(systest.Helper("moved"))
	if err != nil {
		t.Fatal(err)
	}
	m := configured(t, 1, single("program = "+string(line)))
	sockets := func() (n int) {
		for _, fd := range systest.FDs(m.PID) {
			if strings.HasPrefix(fd.Target, "socket:") {
				n++
			}
		}
		return n
	}
	before := sockets()
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	systest.Until(t, "without a copy", func() bool { return sockets() == before }, nil)
	c.Echo(t, "again\n")
	c.CloseWrite(t)
	c.ExpectEnd(t)
}

// What a program leaves behind goes on using the connection if it lives on, and the
// end of the connection is its own.
func TestKeptLeftoversUseConnection(t *testing.T) {
	t.Parallel()
	systest.Need(t, "setsid")
	for name, c := range map[string]struct{ start, leftovers string }{
		"group":             {"", "keep"},
		"session":           {"setsid ", "keep"},
		"other environment": {`setsid env -i PATH="$PATH" `, "keep"},
		"lives on":          {`setsid env -i PATH="$PATH" `, "kill"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gate := systest.NewGate(t)
			up := filepath.Join(systest.Dir(t), "up")
			script := c.start + `sh -c 'echo >` + up + `; read line <` + gate.Path + `; echo later' & while ! test -s ` + up + `; do sleep 0.01; done; echo first`
			m := configured(t, 1, single(fmt.Sprintf(`program = ["/bin/sh", "-c", %q]`, script), "leftovers = \""+c.leftovers+"\""))
			client := m.Dial(t)
			client.Expect(t, "first\n")
			client.End(t)
			gate.Open(t)
			if got := client.ExpectEnd(t); got != "later\n" {
				t.Errorf("%q", got)
			}
		})
	}
}

// The master has a copy of a program's connection only with lingering-close, and
// few of them where every spawn has to copy them.
func TestCopiesOfConnections(t *testing.T) {
	for _, linger := range []bool{true, false} {
		const n = 500
		m := configured(t, 1, single(`program = ["/bin/cat"]`, `max-connections = 2000`, fmt.Sprintf("lingering-close = %t", linger)))
		sockets := func() (n int) {
			for _, fd := range systest.FDs(m.PID) {
				if strings.HasPrefix(fd.Target, "socket:") {
					n++
				}
			}
			return n
		}
		before := sockets()
		m.StopSignal = syscall.SIGQUIT // there is a descriptor that leads to those that were moved
		clients := m.DialAll(t, n)
		for _, c := range clients {
			c.Echo(t, "hello\n")
		}
		if linger {
			systest.Until(t, "few sockets among the master's", func() bool {
				c := m.Dial(t) // they are moved when others come
				c.Echo(t, "more\n")
				clients = append(clients, c)
				return sockets() < 400
			}, nil)
		} else if now := sockets(); now > before {
			t.Errorf("%d sockets, %d before", now, before)
		}
		// Those that have been moved are closed properly, too.
		if err := syscall.Kill(clients[0].Worker(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if rest := clients[0].ExpectEnd(t); rest != "" {
			t.Errorf("%q", rest)
		}
		for _, c := range clients {
			c.Close()
		}
	}
}

// A master that comes to its end, and one that reloads, give those who linger the
// time that they have.
func TestStopWhileLingering(t *testing.T) {
	t.Parallel()
	config := single(fmt.Sprintf(`program = ["/bin/sh", "-c", %q]`, answering))
	m := configured(t, 1, config)
	c := m.Dial(t)
	c.Send(t, "early")
	c.End(t)
	m.Reload(t, config+"rate = \"1000/s\"\n")
	m.Signal(t, syscall.SIGTERM)
	m.WaitFor(t, systest.Is("draining"))
	c.Send(t, strings.Repeat("late ", 1000))
	if got := c.ExpectEnd(t); got != reply {
		t.Errorf("%d bytes of the reply", len(got))
	}
	deaf := c // never closed: the master ends nevertheless
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	deaf.Close()
}
