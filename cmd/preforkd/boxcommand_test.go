package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// boxFile writes a configuration of the services one, whose box is strict, and
// two, whose box is basic, and none.
func boxFile(t *testing.T) string {
	t.Helper()
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	text := `[service.one]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
env = ["GREETING=hello"]
worker-processors = 3
umask = "027"
box.preset = "strict"
[service.two]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
directory = "/usr"
box.preset = "basic"
[service.none]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// A program gets what box has, is in the box, and its end is that of box.
func TestBoxCommand(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	config := boxFile(t)
	for _, c := range []struct {
		name           string
		args           []string
		code           int
		stdout, stderr string
	}{
		{"nothing", []string{"one", "--", "true"}, 0, "", ""},
		{"the user's number", []string{"one", "--", "sh", "-c", `[ "$(id -u)" -ge 61184 ] && [ "$(id -u)" -le 61439 ] && [ "$(id -u)" = "$(id -g)" ] && echo pool`}, 0, "pool\n", ""},
		{"environment and umask", []string{"one", "--", "sh", "-c", `echo "$GREETING $GOMAXPROCS"; umask; echo "$PATH" | grep -c /`}, 0, "hello 3\n0027\n1\n", ""},
		{"private files", []string{"one", "--", "sh", "-c", `echo x >/tmp/x && echo /tmp/*; ls /home; echo x >/etc/x || echo denied`}, 0, "/tmp/x\ndenied\n", "*cannot create /etc/x"},
		{"private processes", []string{"one", "--", "sh", "-c", `for p in /proc/[0-9]*; do echo "${p#/proc/}"; done; exit 0`}, 0, "2\n", ""},
		{"own code", []string{"one", "--", "sh", "-c", "exit 7"}, 7, "", ""},
		{"the entry's code", []string{"one", "--", "sh", "-c", "exit 117"}, 117, "", ""},
		{"signal", []string{"one", "--", "sh", "-c", "kill -9 $$"}, 137, "", ""},
		{"directory", []string{"two", "--", "pwd"}, 0, "/usr\n", ""},
		{"setuid", []string{"two", "--", "grep", "NoNewPrivs", "/proc/self/status"}, 0, "NoNewPrivs:\t1\n", ""},
		{"not found", []string{"one", "--", "no-such-program"}, 127, "", `preforkd: program "no-such-program": file does not exist in PATH` + "\n"},
		{"not found in the box", []string{"one", "--", config}, 127, "", "preforkd: program \"" + config + "\": is within /tmp, which private-tmp replaces for each connection\n"},
		{"not executable", []string{"one", "--", "/etc/passwd"}, 126, "", "preforkd: program \"/etc/passwd\": not an executable file, or not one that this user may execute\n"},
		{"leftovers", []string{"one", "--", "sh", "-c", "setsid sleep 1000 & echo started"}, 0, "started\n", "preforkd: ended what sh has left behind; processes: 1\n"},
		{"no program", []string{"one"}, 2, "", "preforkd: the program is missing: it stands after --\n"},
		{"no program after --", []string{"one", "--"}, 2, "", "preforkd: the program is missing: it stands after --\n"},
		{"no such service", []string{"three", "--", "true"}, 2, "", `preforkd: there is no service "three"; there is one, two, none` + "\n"},
		{"which service", []string{"--", "true"}, 2, "", "preforkd: which service? There is one, two, none\n"},
		{"two services", []string{"one", "two", "--", "true"}, 2, "", "*2 services, at most one has the box"},
		{"no box", []string{"none", "--", "true"}, 2, "", "*service none has no box: box none leaves open"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := systest.Run(t, append([]string{"box", "--config", config}, c.args...)...)
			stderr, part := strings.CutPrefix(c.stderr, "*")
			if r.Code != c.code || r.Stdout != c.stdout || !part && r.Stderr != stderr || part && !strings.Contains(r.Stderr, stderr) {
				t.Errorf("got %+v\nwant %d, %q, %q", r, c.code, c.stdout, c.stderr)
			}
		})
	}
}

// Without a file there is the service of the flags.
func TestBoxCommandByFlags(t *testing.T) {
	t.Parallel()
	if r := systest.Run(t, "box", "--box-no-new-privileges", "--", "grep", "NoNewPrivs", "/proc/self/status"); r.Code != 0 || r.Stdout != "NoNewPrivs:\t1\n" {
		t.Errorf("%+v", r)
	}
	if r := systest.Run(t, "box", "one", "--box-no-new-privileges", "--", "true"); r.Code != exitUsage || r.Stderr != `preforkd: service "one": services stand in a configuration file, which --config names`+"\n" {
		t.Errorf("%+v", r)
	}
	o := systest.Options{Wrap: withoutAdmin(t)}
	if r := o.Run(t, "box", "--box-private-network", "--", "true"); r.Code != exitFailure || !strings.HasPrefix(r.Stderr, "preforkd: service true: box: private-network: needs CAP_SYS_ADMIN") {
		t.Errorf("%+v", r)
	}
	r := o.Run(t, "box", "--box-no-new-privileges", "--box-private-network", "--box-optional", "private-network", "--", "echo", "runs")
	if r.Code != 0 || r.Stdout != "runs\n" || !strings.HasPrefix(r.Stderr, "preforkd: service echo: box lacks private-network: needs CAP_SYS_ADMIN") || strings.Count(r.Stderr, "\n") != 1 {
		t.Errorf("%+v", r)
	}
}

// What a box denies is named, where it ends the program or lets it go on.
func TestBoxCommandNamesDenied(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for action, code := range map[string]int{"kill": exitSignal + int(unix.SIGSYS), "log": 125} {
		r := systest.Run(t, "box", "--box-preset", "basic", "--box-system-calls-action", action, "--", systest.Need(t, "chroot"), "/", "/bin/true")
		if r.Code != code || !strings.HasSuffix(r.Stderr, "preforkd: the box does not allow the system call chroot\n") {
			t.Errorf("%s: %+v", action, r)
		}
	}
}

// Data goes through, and a signal to box reaches the program.
func TestBoxCommandPipesAndSignals(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	cmd := exec.Command(systest.Preforkd(t), "box", "--config", boxFile(t), "one", "--", "sh", "-c", `trap 'echo got TERM; exit 5' TERM; echo ready; while :; do sleep 0.05; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "GOCOVERDIR="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watch := time.AfterFunc(systest.Deadline(), func() { cmd.Process.Kill() })
	defer watch.Stop()
	var line [6]byte
	if _, err := io.ReadFull(out, line[:]); err != nil || string(line[:]) != "ready\n" {
		t.Errorf("%q, %v", line[:], err)
	}
	cmd.Process.Signal(unix.SIGTERM)
	rest, _ := io.ReadAll(out)
	_ = cmd.Wait()
	if string(rest) != "got TERM\n" || cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("%q, %v", rest, cmd.ProcessState)
	}
}

const (
	ctrlC = "\x03"
	ctrlZ = "\x1a"
)

// The keys of the terminal mean for a program in a box what they mean for others.
func TestBoxCommandAtTheTerminal(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	const run = `set -m; "$0" box --config "$1" one -- `
	t.Run("Ctrl-C", func(t *testing.T) {
		t.Parallel()
		s := atTerminal(t, run+`sh -c 'trap "echo got INT; exit 9" INT; echo ready; while :; do sleep 0.05; done'; echo "ended with $?"`)
		s.expect("ready")
		s.write(ctrlC)
		s.expect("got INT")
		s.expect("ended with 9")
	})
	t.Run("Ctrl-C that the program does not catch", func(t *testing.T) {
		t.Parallel()
		// No shell: dash catches SIGINT itself, and one that it gets before its child
		// is there neither ends it nor reaches the child.
		s := atTerminal(t, run+`cat; echo "ended with $?"`)
		s.write("words\n")
		s.expect("words") // of the terminal
		s.expect("words") // of the program
		s.write(ctrlC)
		s.expect(fmt.Sprintf("ended with %d", exitSignal+int(syscall.SIGINT)))
	})
	t.Run("Ctrl-Z", func(t *testing.T) {
		t.Parallel()
		s := atTerminal(t, run+`sh -c 'echo ready; read line; echo "read $line"; exit 3'; echo "stopped with $?"; fg; echo "ended with $?"`)
		s.expect("ready")
		s.write(ctrlZ)
		s.expect(fmt.Sprintf("stopped with %d", 128+int(syscall.SIGTSTP)))
		s.write("words\n")
		s.expect("read words")
		s.expect("ended with 3")
	})
	t.Run("stops itself", func(t *testing.T) {
		t.Parallel()
		s := atTerminal(t, run+`sh -c 'echo ready; kill -STOP $$; echo goes on; exit 4'; echo "stopped with $?"; fg; echo "ended with $?"`)
		s.expect("ready")
		s.expect(fmt.Sprintf("stopped with %d", 128+int(syscall.SIGSTOP)))
		s.expect("goes on")
		s.expect("ended with 4")
	})
	t.Run("a shell with job control", func(t *testing.T) {
		t.Parallel()
		s := atTerminal(t, run+`sh -mc 'sh -c "echo ready; read line; echo read \$line; exit 6"; echo "inner $?"; exit 2'; echo "ended with $?"; read line; echo "outer $line"`)
		s.expect("ready")
		s.write("words\n")
		s.expect("read words")
		s.expect("inner 6")
		s.expect("ended with 2")
		s.write("more\n") // the terminal is the outer shell's again
		s.expect("outer more")
	})
}

// strace sees the program in the box.
func TestBoxCommandUnderStrace(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	trace := filepath.Join(systest.Dir(t), "trace")
	r := systest.Options{Wrap: []string{systest.Need(t, "strace"), "-f", "-qq", "-o", trace, "-e", "trace=execve,setns"}}.Run(t, "box", "--config", boxFile(t), "one", "--", "echo", "words")
	text, err := os.ReadFile(trace)
	if r.Code != 0 || r.Stdout != "words\n" || err != nil || !strings.Contains(string(text), `/echo", ["echo", "words"]`) {
		t.Errorf("%+v, %v", r, err)
	}
}
