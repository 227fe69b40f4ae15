package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func init() {
	systest.Register("blocked", func(args []string) int { return blocked(args) })
	systest.Register("groupless", func(args []string) int { return groupless(args) })
}

// groupless runs a command after it has tried to join another process group of
// its session, and to begin a session of its own.
func groupless(args []string) int {
	child := exec.Command("sleep", "1000")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		return fail("start another process: %v", err)
	}
	err := unix.Setpgid(0, child.Process.Pid)
	_, sidErr := unix.Setsid()
	child.Process.Kill()
	child.Wait()
	if err != unix.EPERM || sidErr != unix.EPERM {
		return fail("join another group: %v; begin a session: %v", err, sidErr)
	}
	return execute(args)
}

// blocked runs a command with every signal blocked that can be.
func blocked(args []string) int {
	runtime.LockOSThread()
	var all unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^uint64(0)
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, nil); err != nil {
		return fail("block signals: %v", err)
	}
	return execute(args)
}

// execute replaces the helper by a command.
func execute(args []string) int {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fail("%v", err)
	}
	return fail("exec %s: %v", path, syscall.Exec(path, args, os.Environ()))
}

func fail(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	return 125
}

// command runs a program to its end and returns what it wrote to stdout.
func command(t *testing.T, stdin string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), systest.Deadline())
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &stderr)
	}
	return stdout.String()
}

// oneLine holds the form of every complaint: one line that says whose it is.
func oneLine(t *testing.T, stderr string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "preforkd: ") || strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") {
		t.Errorf("stderr is not one line of the form \"preforkd: ...\":\n%s", stderr)
	}
}

// sh returns the command line of a shell script.
func sh(script string, args ...string) []string {
	return append([]string{"/bin/sh", "-c", script}, args...)
}

// program returns the arguments that make serve run a program.
func program(line ...string) []string { return append([]string{"--"}, line...) }

// seconds returns the time of an event.
func seconds(t *testing.T, e systest.Event) float64 {
	t.Helper()
	var text string
	if err := json.Unmarshal(e.TS, &text); err != nil {
		t.Fatalf("%v: %s", err, e.Line)
	}
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		t.Fatal(err)
	}
	return float64(at.UnixNano()) / 1e9
}
