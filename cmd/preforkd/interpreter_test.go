package main

import (
	"golang.org/x/sys/unix"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// A program whose interpreter is missing is there, so the error names what is
// not: at check, at the start, and when it goes missing later.
func TestMissingInterpreter(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	program, config := filepath.Join(dir, "program"), filepath.Join(dir, "preforkd.toml")
	text := "[service.one]\nlisten = [\"127.0.0.1:0\"]\nprogram = [\"" + program + "\"]\n"
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for first, want := range map[string]string{
		"#!/nonexistent/sh\n": `its interpreter "/nonexistent/sh": no such file or directory`,
		"#!/bin/sh\r\n":       `its first line ends in CR LF, as on Windows: its interpreter "/bin/sh\r": no such file or directory`,
	} {
		systest.WriteProgram(t, program, first+"cat\n")
		for _, command := range []string{"check", "serve"} {
			r := systest.Run(t, command, "--config", config)
			if r.Code != 2 && r.Code != 1 || !strings.Contains(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
				t.Errorf("%s: exit %d\n%s", command, r.Code, r.Stderr)
			}
		}
	}
	systest.WriteProgram(t, program, "#!/bin/sh\nexec cat\n")
	m := configured(t, 1, text)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	systest.WriteProgram(t, program, "#!/nonexistent/sh\n")
	m.Dial(t).ExpectGone(t)
	e := m.WaitFor(t, systest.Is(systest.SpawnFailed))
	if want := "start " + program + `: its interpreter "/nonexistent/sh": no such file or directory`; e.Error != want {
		t.Errorf("%s, want %s", e.Line, want)
	}
}

// A file that is open for writing cannot be executed (ETXTBSY, execve(2)). A
// program that is being replaced is like that for a moment, and the connections
// of that moment wait for it.
func TestProgramBeingReplaced(t *testing.T) {
	t.Parallel()
	program := filepath.Join(systest.Dir(t), "program")
	systest.CopyProgram(t, systest.Need(t, "cat"), program)
	m := configured(t, 1, single(`program = ["`+program+`"]`))
	for range 3 {
		fd, err := unix.Open(program, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		client := m.Dial(t)
		time.Sleep(100 * time.Millisecond) // so that the start meets the open file
		unix.Close(fd)
		client.Echo(t, "hello\n")
		client.CloseWrite(t)
		client.ExpectEnd(t)
		client.End(t) // and with it the program, which could not be opened for writing
	}
	if failed := m.Events(systest.Is(systest.SpawnFailed)); len(failed) > 0 {
		t.Errorf("%s", failed[0].Line)
	}
}
