package fault

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// source is a program that passes two steps.
const source = `package main

import (
	"fmt"
	"os"

	"github.com/preforkd/preforkd/master/upgrade/fault"
)

func main() {
	for _, step := range []string{"first", "second"} {
		if err := fault.At(step); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(step, "passed")
	}
}
`

// build builds the program with these flags into a directory.
func build(t *testing.T, dir string, flags ...string) string {
	t.Helper()
	path := filepath.Join(dir, "program")
	if err := os.WriteFile(path+".go", []byte(source), 0o644); err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{"build", "-buildvcs=false", "-o", path}, flags...), path+".go")
	if out, err := exec.Command("go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return path
}

// In a program as it is for users, the file beside it means nothing.
func TestOff(t *testing.T) {
	t.Parallel()
	path := build(t, t.TempDir())
	if err := os.WriteFile(path+".fault", []byte("first kill\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
	if err != nil || string(out) != "first passed\nsecond passed\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	path := build(t, t.TempDir(), "-tags", "upgradefault")
	for _, c := range []struct {
		file string
		code int // -1 for a signal
		says string
	}{
		{"", 0, "first passed\nsecond passed\n"},
		{"third error\n", 0, "first passed\nsecond passed\n"},
		{"first error\n", 1, "a fault at first\n"},
		{"second error\n", 1, "first passed\na fault at second\n"},
		{"second panic\n", 2, "first passed\npanic: a fault at second\n"},
		{"second exit\n", 77, "first passed\n"},
		{"second kill\n", -1, "first passed\n"},
		{"second what\n", 1, "first passed\n" + path + `.fault: there is no kind "what"` + "\n"},
		{"second\n", 1, path + `.fault: "second\n", want a step, a kind and perhaps a pid` + "\n"},
		{"first error 1\n", 0, "first passed\nsecond passed\n"},
	} {
		os.Remove(path + ".fault")
		if c.file != "" {
			if err := os.WriteFile(path+".fault", []byte(c.file), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		out, err := exec.CommandContext(t.Context(), path).CombinedOutput()
		code := 0
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			code = exit.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != c.code || !strings.HasPrefix(string(out), c.says) {
			t.Errorf("%q: exit code %d, %q; want %d, %q", c.file, code, out, c.code, c.says)
		}
	}
}

// A fault with a pid is for that process only, whatever it has executed.
func TestPID(t *testing.T) {
	t.Parallel()
	path := build(t, t.TempDir(), "-tags", "upgradefault")
	script := `echo "first error $$" >"$0.fault"; "$0"; exec "$0"`
	out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script, path).CombinedOutput()
	if err == nil || string(out) != "first passed\nsecond passed\na fault at first\n" {
		t.Errorf("%q, %v", out, err)
	}
}

func TestHang(t *testing.T) {
	t.Parallel()
	path := build(t, t.TempDir(), "-tags", "upgradefault")
	if err := os.WriteFile(path+".fault", []byte("second hang\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// It has come to the second step, and says nothing more.
	first := make([]byte, len("first passed\n"))
	if _, err := stdout.Read(first); err != nil || string(first) != "first passed\n" {
		t.Errorf("%q, %v", first, err)
	}
	time.Sleep(50 * time.Millisecond)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	var rest bytes.Buffer
	rest.ReadFrom(stdout)
	if err := cmd.Wait(); err == nil || rest.Len() > 0 || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("it ended by itself: %v, %q", err, &rest)
	}
}
