package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// pidIn waits for a process to write its pid into a file, and returns it.
func pidIn(t *testing.T, file string) (pid int) {
	t.Helper()
	systest.Until(t, "a pid in "+file, func() bool {
		text, err := os.ReadFile(file)
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	}, nil)
	return pid
}

// What a worker has started ends when the worker has, in whatever group, session
// and depth it is, and whether it obeys or not. Its client sees the end then, and
// the slot is free no earlier.
func TestLeftoversEnd(t *testing.T) {
	t.Parallel()
	systest.Need(t, "setsid")
	for name, c := range map[string]struct {
		script string // FILE stands for a file for the pid of what is left
		keys   string
	}{
		"in the group":                    {`sh -c 'echo $$ >FILE; exec sleep 1000' &`, ""},
		"in a group of its own":           {`set -m; sh -c 'echo $$ >FILE; exec sleep 1000' &`, ""},
		"in a session of its own":         {`setsid sh -c 'echo $$ >FILE; exec sleep 1000' &`, ""},
		"a daemon":                        {`setsid sh -c 'sh -c "echo \$\$ >FILE; exec sleep 1000" & exec sleep 0.2' &`, ""},
		"a daemon below one":              {`setsid sh -c 'setsid sh -c "sh -c \"echo \\\$\\\$ >FILE; sleep 1000; :\"; :"; :' &`, ""},
		"ignores TERM":                    {`sh -c 'trap "" TERM; echo $$ >FILE; while :; do sleep 0.05; done' &`, "kill-delay"},
		"ignores TERM in its own session": {`setsid sh -c 'trap "" TERM; echo $$ >FILE; while :; do sleep 0.05; done' &`, "kill-delay"},
		"stands still":                    {`setsid sh -c 'echo $$ >FILE; kill -STOP $$; sleep 1000' &`, ""},
	} {
		for _, spares := range []int{0, 1} {
			t.Run(fmt.Sprint(name, " spares ", spares), func(t *testing.T) {
				t.Parallel()
				file := filepath.Join(systest.Dir(t), "pid")
				script := strings.ReplaceAll(c.script, "FILE", file) + ` while ! test -s ` + file + `; do sleep 0.01; done; echo ready`
				args := []string{"--max-connections", "1", "--kill-delay", "1h", "--spares", strconv.Itoa(spares)}
				if c.keys != "" {
					args[3] = "100ms"
				}
				m := systest.Start(t, append(args, program(sh(script)...)...)...)
				m.Spares = spares
				client := m.Dial(t)
				client.Expect(t, "ready\n")
				client.ExpectEnd(t)
				pid := pidIn(t, file)
				end := m.WaitFor(t, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn != "" })
				if systest.Alive(pid) {
					t.Errorf("it is alive after %s", end.Line)
				}
				if !strings.Contains(end.Line, `"leftovers":`) || end.Code() != 0 {
					t.Errorf("%s", end.Line)
				}
				os.Remove(file)
				m.Dial(t).Expect(t, "ready\n") // the slot is free
				m.Wait(t, 2, func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn != "" })
			})
		}
	}
}

// What has an environment of its own by then lives on: a session of a user. So
// does everything where the service wants that, and a connection without
// leftovers says nothing of them.
func TestLeftoversThatLiveOn(t *testing.T) {
	t.Parallel()
	systest.Need(t, "setsid")
	for name, c := range map[string]struct{ script, leftovers string }{
		"another environment": {`setsid env -i PATH="$PATH" sh -c 'echo $$ >FILE; exec sleep 1000' <&2 >&2 &`, "kill"},
		"kept":                {`sh -c 'echo $$ >FILE; exec sleep 1000' <&2 >&2 &`, "keep"},
		"kept session":        {`setsid sh -c 'echo $$ >FILE; exec sleep 1000' <&2 >&2 &`, "keep"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(systest.Dir(t), "pid")
			script := strings.ReplaceAll(c.script, "FILE", file) + ` while ! test -s ` + file + `; do sleep 0.01; done; echo ready`
			m := systest.Start(t, append([]string{"--leftovers", c.leftovers}, program(sh(script)...)...)...)
			client := m.Dial(t)
			client.Expect(t, "ready\n")
			client.ExpectEnd(t)
			pid := pidIn(t, file)
			defer unix.Kill(pid, unix.SIGKILL)
			if end := client.End(t); strings.Contains(end.Line, "leftovers") {
				t.Errorf("%s", end.Line)
			}
			if !systest.Alive(pid) {
				t.Error("it has ended")
			}
			unix.Kill(pid, unix.SIGKILL)
			m.WaitFor(t, func(e systest.Event) bool { return e.PID == pid }) // the master has reaped it
		})
	}
}

// A connection whose worker has ended is shown as long as something is left of
// it, and a stop ends that, too.
func TestLeftoversAreShown(t *testing.T) {
	t.Parallel()
	m := controlled(t, "--kill-delay", "1h", "--", "/bin/sh", "-c", `trap '' TERM; (exec sleep 1000) & echo ready`)
	client := m.Dial(t)
	client.Expect(t, "ready\n")
	conn := client.Accepted(t).Conn
	systest.Until(t, "leftovers in the status", func() bool { return stateOfConnection(t, m, conn) == "leftovers" }, nil)
	if live := looked(t, m).Services[0].Live; live != 1 {
		t.Errorf("%d live connections", live)
	}
	m.Signal(t, unix.SIGQUIT)
	m.WaitFor(t, systest.Is("stopping workers"))
	m.Signal(t, unix.SIGINT) // and not an hour of TERM
	if end := client.End(t); !strings.Contains(end.Line, `"leftovers":1`) {
		t.Errorf("%s", end.Line)
	}
	stopped(t, m)
}

// Many workers that end at once, each with many leftovers, hold nobody up: what is
// left is looked for once for all of them, and not once for each pair.
func TestManyLeftovers(t *testing.T) {
	t.Parallel()
	systest.Need(t, "setsid")
	const connections, each = 60, 20
	script := fmt.Sprintf(`trap "" TERM; i=0; while test $i -lt %d; do setsid sleep 1000 & i=$((i+1)); done; echo ready; read x`, each)
	m := controlled(t, append([]string{"--kill-delay", "500ms"}, program(sh(script)...)...)...)
	var clients []*systest.Client
	for range connections {
		c := m.Dial(t)
		c.Expect(t, "ready\n")
		clients = append(clients, c)
	}
	for _, c := range clients {
		c.Send(t, "\n")
	}
	for _, c := range clients {
		c.ExpectEnd(t)
	}
	m.Wait(t, connections, func(e systest.Event) bool {
		return e.Msg == systest.Reaped && strings.Contains(e.Line, fmt.Sprintf(`"leftovers":%d`, each))
	})
	if live := looked(t, m).Services[0].Live; live != 0 {
		t.Errorf("%d live connections", live)
	}
}

// Each process of a group has SIGTERM once, so that a second one that means hurry to
// it does not come. They are counted, although the service logs no connections.
func TestLeftoversHaveTermOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(systest.Dir(t), "terms")
	script := `for i in 1 2 3 4 5; do sh -c 'trap "echo TERM >>FILE" TERM; echo up >>FILE; while :; do sleep 0.05; done' & done
while test "$(grep -c up FILE)" != 5; do sleep 0.01; done; echo ready`
	script = strings.ReplaceAll(script, "FILE", file)
	m := controlled(t, append([]string{"--kill-delay", "1s", "--log", "none"}, program(sh(script)...)...)...)
	m.LossyLog = true
	client := m.Dial(t)
	client.Expect(t, "ready\n")
	client.ExpectEnd(t)
	systest.Until(t, "a free slot", func() bool { return looked(t, m).Services[0].Live == 0 }, nil)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "TERM"); n != 5 {
		t.Errorf("%d of 5 times SIGTERM", n)
	}
	if n := looked(t, m).Services[0].Work.Leftovers; n < 5 {
		t.Errorf("%d leftovers counted", n)
	}
}
