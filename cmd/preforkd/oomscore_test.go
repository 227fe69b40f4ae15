package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// oomScore returns the adjustment of a process, "" when there is none.
func oomScore(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid))
	return strings.TrimSpace(string(text))
}

// adjusted returns a command that executes another with an adjustment.
func adjusted(t *testing.T, adjustment int) []string {
	t.Helper()
	script := fmt.Sprintf(`echo %d >/proc/self/oom_score_adj && exec "$@"`, adjustment)
	if err := exec.Command("/bin/sh", "-c", script, "sh", "true").Run(); err != nil {
		systest.SkipAnywhere(t, "lowers an OOM score, which takes CAP_SYS_RESOURCE: "+err.Error())
	}
	return sh(script, "sh")
}

// A worker has 0 where the master's adjustment is negative, and what its service
// says, however it is started and as whichever user.
func TestOOMScoreOfWorkers(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	setpriv := systest.Need(t, "setpriv")
	cat := program("/bin/cat")
	for name, c := range map[string]struct {
		master int
		args   []string
		want   string
		wrap   []string
	}{
		"negative":           {-500, cat, "0", nil},
		"negative, built-in": {-500, []string{"echo"}, "0", nil},
		"negative, spare":    {-500, append([]string{"--spares", "1"}, cat...), "0", nil},
		"negative, user":     {-500, append([]string{"--user", "nobody"}, cat...), "0", nil},
		"negative, umask":    {-500, append([]string{"--umask", "027"}, cat...), "0", nil},
		"positive":           {300, cat, "300", nil},
		"positive, set":      {300, append([]string{"--oom-score-adjust", "700"}, cat...), "700", nil},
		"set, spare, user":   {0, append([]string{"--oom-score-adjust", "200", "--spares", "1", "--user", "nobody"}, cat...), "200", nil},
		"set to the same":    {-500, append([]string{"--oom-score-adjust", "-500"}, cat...), "-500", nil},
		// Down to what it was before whoever raised it, anybody may lower it.
		"lowered":              {300, append([]string{"--oom-score-adjust", "100"}, cat...), "100", nil},
		"lowered, built-in":    {300, []string{"--oom-score-adjust", "100", "echo"}, "100", nil},
		"lowered, umask":       {300, append([]string{"--oom-score-adjust", "100", "--umask", "027"}, cat...), "100", nil},
		"lowered, spare, user": {300, append([]string{"--oom-score-adjust", "100", "--spares", "1", "--user", "nobody"}, cat...), "100", nil},
		"lowered, another user, no root": {300, append([]string{"--oom-score-adjust", "100", "--user", "daemon"}, cat...), "100", []string{setpriv,
			"--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid", "--"}},
		"lowered by root":   {0, append([]string{"--oom-score-adjust=-200"}, cat...), "-200", nil},
		"negative, no root": {-500, cat, "0", []string{setpriv, "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"}},
		"another user, no root": {-500, append([]string{"--user", "daemon"}, cat...), "0", []string{setpriv,
			"--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps", "+setuid,+setgid", "--ambient-caps", "+setuid,+setgid", "--"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.HasPrefix(c.want, "-") {
				adjusted(t, -1) // who may not lower it is another test's business
			}
			m := systest.Options{Wrap: append(adjusted(t, c.master), c.wrap...), Args: c.args}.Start(t)
			if got := oomScore(m.PID); got != fmt.Sprint(c.master) {
				t.Fatalf("the master has %s", got)
			}
			client := m.Dial(t)
			client.Echo(t, "hello")
			pid := client.Worker(t)
			systest.Until(t, "an adjustment of "+c.want, func() bool { return oomScore(pid) == c.want },
				func() string { return "it is " + oomScore(pid) })
			if got := oomScore(m.PID); got != fmt.Sprint(c.master) {
				t.Errorf("the master has %s now", got)
			}
			if warned := m.Events(systest.Is("oom score not adjusted")); len(warned) > 0 {
				t.Errorf("%s", warned[0].Line)
			}
		})
	}
}

// Whoever may not lower it is told so before anything is bound.
func TestOOMScoreThatIsRefused(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t) // to become a user without rights
	dir := systest.Dir(t)
	file := dir + "/preforkd.toml"
	text := "[service.a]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\noom-score-adjust = -300\n"
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, line := range [][]string{{"check", "--config", file}, {"serve", "--config", file}} {
		cmd := exec.Command(systest.Preforkd(t), line...)
		cmd.Env = bareEnvironment(t)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		exit, _ := errors.AsType[*exec.ExitError](err)
		if exit == nil || exit.ExitCode() != 2 || !strings.HasPrefix(string(out), file+":4:20: service.a: oom-score-adjust -300: ") ||
			!strings.Contains(string(out), "CAP_SYS_RESOURCE") || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %v\n%s", line, err, out)
		}
	}
	t.Run("allowed", func(t *testing.T) {
		adjusted(t, -300)
		if out, err := exec.Command(systest.Preforkd(t), "check", "--config", file).CombinedOutput(); err != nil ||
			!strings.Contains(string(out), "oom-score-adjust") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}
