package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// challenge makes the root of challenge.toml, whose program runs what clients send, and
// returns the text of the example for it. Limits of cgroups are left out: they are tried
// in a machine that has version 2 (deploy/machinetest).
func challenge(t *testing.T, replace ...string) (text string) {
	t.Helper()
	needBoxes(t)
	root := busyboxRoot(t, "app", "dev", "proc", "tmp")
	systest.WriteProgram(t, filepath.Join(root, "app/run"), "#!/bin/sh\nwhile read -r line; do eval \"$line\"; done\n")
	systest.WriteProgram(t, filepath.Join(root, "app/pow"), shownIn(t, "challenge.toml", "#!/bin/sh"))
	for _, applet := range []string{"cat", "dd", "false", "head", "id", "pwd", "sha256sum", "sleep", "taskset", "wc"} {
		must(t, os.Symlink("busybox", filepath.Join(root, "bin", applet)))
	}
	e := boxExample{file: "challenge.toml", replace: append([]string{`"/srv"`, `"` + root + `"`}, replace...)}
	text, _ = e.text(t)
	limits := regexp.MustCompile(`(?m)^(tasks-max|memory-max|memory-swap-max|cpu-quota) .*\n`)
	if n := len(limits.FindAllString(text, -1)); n != 4 {
		t.Fatalf("the example has %d limits of a cgroup", n)
	}
	return limits.ReplaceAllString(text, "")
}

func startChallenge(t *testing.T, text string) *systest.Master {
	t.Helper()
	m := systest.Options{Config: text, Listeners: 1}.Start(t)
	m.Boxed = true
	m.StopSignal = syscall.SIGQUIT // its descriptors are not what they were at the start
	return m
}

// What redpwn/jail gives to a challenge, the example gives: its root and its program, its
// environment, devices, system calls and /tmp. And it gives no more.
func TestBoxExampleChallenge(t *testing.T) {
	t.Parallel()
	text := challenge(t)
	m := startChallenge(t, text)
	for script, want := range map[string]string{
		`echo "$FLAG"`:                "flag{for_example}\n", // JAIL_ENV_FLAG
		"pwd; echo $0":                "/app\n/app/run\n",
		"cd /; echo *":                "app bin dev lib lib64 proc tmp\n",
		"echo x >/app/x || echo kept": "kept\n",
		"cd /dev; for f in null zero urandom full random tty; do head -c 1 $f >/tmp/x 2>&1 && echo $f; done": "null\nzero\nurandom\n", // JAIL_DEV
		"taskset 1 id >/dev/null && echo set":                                   "set\n",     // JAIL_SYSCALLS
		"dd if=/dev/zero of=/tmp/x bs=1k count=2000 2>/dev/null; wc -c </tmp/x": "1048576\n", // JAIL_TMP_SIZE
		"[ $(id -u) -ge 61184 ] && [ $(id -u) -le 61439 ] && echo pool":         "pool\n",
	} {
		got := answerOf(t, m, "challenge", script+"\n")
		if strings.HasPrefix(script, "cd /; ") { // the C library's directories differ
			got = strings.ReplaceAll(strings.ReplaceAll(got, " lib64", ""), " lib", "")
			want = "app bin dev proc tmp\n"
		}
		if got != want {
			t.Errorf("%s: %q, want %q\n%s", script, got, want, m.Log())
		}
	}
	// Without its line the system call is denied.
	if e := m.Reload(t, strings.Replace(text, `, "sched_setaffinity"`, "", 1)); e.Msg != systest.Reloaded {
		t.Fatalf("%s", e.Line)
	}
	if got := answerOf(t, m, "challenge", "taskset 1 id >/dev/null || echo denied\n"); got != "denied\n" {
		t.Errorf("taskset says %q", got)
	}
}

// JAIL_TIME, JAIL_CONNS and JAIL_CONNS_PER_IP.
func TestBoxExampleChallengeBounds(t *testing.T) {
	t.Parallel()
	m := startChallenge(t, challenge(t, "= 250 ", "= 3 ", "= 10 ", "= 2 "))
	held := []*systest.Client{dialSource(t, m, "127.0.0.2"), dialSource(t, m, "127.0.0.2")}
	m.Wait(t, 2, systest.Is(systest.Accepted))
	refusedFor(t, m, dialSource(t, m, "127.0.0.2"), "max-connections-per-source")
	held = append(held, dialSource(t, m, "127.0.0.3"))
	m.Wait(t, 3, systest.Is(systest.Accepted))
	refusedFor(t, m, dialSource(t, m, "127.0.0.4"), "max-connections")
	for _, c := range held {
		c.Close()
	}
	m.Wait(t, 3, systest.Is(systest.Reaped))

	m = startChallenge(t, challenge(t, `"20s"`, `"200ms"`))
	c := m.Dial(t)
	c.Send(t, "sleep 1000\n")
	c.ExpectGone(t)
	if e := c.End(t); !strings.Contains(e.Line, `"limit":"runtime"`) {
		t.Errorf("%s", e.Line)
	}
}

// In place of JAIL_POW: who does not do the work does not get to the program.
func TestBoxExampleChallengeWork(t *testing.T) {
	t.Parallel()
	m := startChallenge(t, challenge(t, `program   = ["/app/run"]`, `program   = ["/app/pow", "/app/run"]`))
	for _, works := range []bool{true, false} {
		c := m.Dial(t)
		question, err := bufio.NewReader(c).ReadString('\n')
		must(t, err)
		nonce := regexp.MustCompile(`"([0-9a-f-]{36})"`).FindStringSubmatch(question)
		if nonce == nil {
			t.Fatalf("the question is %q", question)
		}
		line := 0
		for ; works != strings.HasPrefix(digest(nonce[1], line), "0000"); line++ {
		}
		c.Send(t, fmt.Sprintf("%d\necho in; pwd\n", line))
		c.CloseWrite(t)
		want := "in\n/app\n"
		if !works {
			want = "It does not.\n"
		}
		if got := c.ExpectEnd(t); got != want {
			t.Errorf("works %v: %q", works, got)
		}
	}
}

func digest(nonce string, line int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s%d", nonce, line))
	return hex.EncodeToString(sum[:])
}
