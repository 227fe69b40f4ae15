package machinetest

import (
	"bufio"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// shell is a service whose program runs the lines that it reads. What follows are keys of
// its box.
const shell = `
[master]
drain-timeout = "1s"

[service.echo]
listen          = ["127.0.0.1:7007"]
program         = ["/bin/sh", "-c", 'while read -r line; do eval "$line"; done']
max-connections = 20

[service.echo.box]
preset = "strict"
`

// A talk is a connection to a shell.
type talk struct {
	net.Conn
	answers *bufio.Reader
}

// dialShell connects to a shell that answers.
func dialShell(t *testing.T) *talk {
	t.Helper()
	c := dial(t)
	s := &talk{c, bufio.NewReader(c)}
	s.isAlive(t)
	return s
}

// ask returns the line that a command prints.
func (s *talk) ask(t *testing.T, command string) string {
	t.Helper()
	line, err := s.tryAsk(command)
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return line
}

func (s *talk) tryAsk(command string) (string, error) {
	if _, err := io.WriteString(s, command+"\n"); err != nil {
		return "", err
	}
	line, err := s.answers.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}

func (s *talk) isAlive(t *testing.T) {
	t.Helper()
	if got := s.ask(t, "echo alive"); got != "alive" {
		t.Errorf("the answer is %q", got)
	}
}

// isGone waits for the end of the connection.
func (s *talk) isGone(t *testing.T) {
	t.Helper()
	rest, err := io.ReadAll(s.answers)
	if timeout, ok := err.(net.Error); len(rest) > 0 || ok && timeout.Timeout() {
		t.Errorf("the connection is still there: %q, %v", rest, err)
	}
}

// end has the shell do something and come to its end.
func (s *talk) end(t *testing.T, command string) {
	t.Helper()
	if _, err := io.WriteString(s, command+"\n"); err != nil {
		t.Fatal(err)
	}
	s.Conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(s.answers) // that of a program which was killed may be a reset
	t.Logf("%s: %q, %v", command, answer, err)
}

// pooled returns the processes of the users of the pool.
func pooled(t *testing.T) (processes []string) {
	t.Helper()
	for line := range strings.Lines(run(t, "ps", "-eo", "uid:1=,pid:1=,args=")) {
		if uid, _, _ := strings.Cut(line, " "); len(uid) == 5 && uid >= "61184" && uid <= "61439" {
			processes = append(processes, strings.TrimSpace(line))
		}
	}
	return processes
}

// journal returns what the unit has logged since it was last started, with some fields.
func journal(t *testing.T, fields ...string) string {
	t.Helper()
	args := []string{"--no-pager", "--boot", "--output=json", "_SYSTEMD_INVOCATION_ID=" + show(t, "InvocationID")}
	out, _ := exec.Command("journalctl", append(args, fields...)...).Output() // fails if there is nothing
	return string(out)
}

// notInShort skips a test in the short form, which has a bound of some minutes.
func notInShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		needtest.SkipAnywhere(t, "takes a while, and is not in the short form")
	}
}
