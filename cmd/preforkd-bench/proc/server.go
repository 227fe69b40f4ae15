package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTimeout = 10 * time.Second     // from start to listening
	stopTimeout  = 3 * time.Second      // from SIGTERM to SIGKILL
	awaitLook    = 2 * time.Millisecond // between two looks whether a server is ready
)

// A Server is one running server under test.
type Server struct {
	Tree
	cmd   *exec.Cmd
	log   string // path of what it prints
	took  time.Duration
	ended chan struct{}
}

// limitFiles starts a program with the limit of open files that systemd gives
// its services, whatever this process has. Some servers close every possible
// descriptor in every child, and a large limit would be their only cost.
const limitFiles = `ulimit -Sn 1024 2>/dev/null; exec "$@"`

// A Ready says when a server has started.
type Ready struct {
	Look  func() (bool, error) // called again and again until it is true, or fails
	Limit time.Duration        // how long that may take
	Not   string               // what is wrong when it takes longer
}

// Serve starts a server in a process group of its own and waits until
// something listens on 127.0.0.1:port. What it prints goes to the file log.
// The caller stops it, also after an error of anything else.
func (c *Children) Serve(ctx context.Context, args []string, port int, log string) (*Server, error) {
	return c.ServeWhen(ctx, args, log, Ready{
		Look:  func() (bool, error) { return Listening(port) },
		Limit: startTimeout,
		Not:   fmt.Sprintf("nothing listens on port %d", port),
	})
}

// ServeWhen is Serve for a server whose start is over when ready says so.
func (c *Children) ServeWhen(ctx context.Context, args []string, log string, ready Ready) (*Server, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(args[0]), err)
	}
	defer out.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", limitFiles, "sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begun := time.Now()
	if err := c.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(args[0]), err)
	}
	s := &Server{Tree: Tree{children: c, pid: cmd.Process.Pid}, cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		c.Wait(cmd) // the status of a server that is told to stop says nothing
	}()
	if err := s.Await(ctx, ready); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start %s: %w", filepath.Base(args[0]), err)
	}
	s.took = time.Since(begun)
	s.rest(ctx)
	return s, nil
}

// Took returns how long the start took, to a few milliseconds.
func (s *Server) Took() time.Duration { return s.took }

// Await waits until the server is ready. It fails when the server ends.
func (s *Server) Await(ctx context.Context, ready Ready) error {
	for deadline := time.Now().Add(ready.Limit); ; {
		is, err := ready.Look()
		if is || err != nil {
			return err
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended by itself: %s", s.lastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(awaitLook):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s after %v: %s", ready.Not, ready.Limit, s.lastWords())
		}
	}
}

// Alive reports whether the process that was started still runs.
func (s *Server) Alive() error {
	select {
	case <-s.ended:
		return fmt.Errorf("the server ended under load: %s", s.lastWords())
	default:
		return nil
	}
}

// lastWords returns the end of what the server printed. Of a Go program that
// the runtime has ended that is the reason, which stands before the stacks of
// all goroutines, and not the last line of the last stack.
func (s *Server) lastWords() string {
	f, err := os.Open(s.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	last := ""
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		last = line
		if fatal.MatchString(line) {
			break
		}
	}
	if last == "" {
		return "it printed nothing"
	}
	return fmt.Sprintf("it printed %.200q", last)
}

// fatal matches the line in which the Go runtime says why it ends a program.
var fatal = regexp.MustCompile(`^(runtime: (program exceeds|failed to|cannot|out of)|panic: |fatal error: )`)

// Stop ends the server and everything that came of it: SIGTERM to its group,
// SIGKILL after a grace period, then every orphan by pid. It returns when all
// are gone.
func (s *Server) Stop() {
	s.signal(unix.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopTimeout):
		s.signal(unix.SIGKILL)
		<-s.ended
	}
	s.children.killOrphans()
}

// Signal signals the server's master, unless the server has ended.
func (s *Server) Signal(sig syscall.Signal) error {
	if err := s.Alive(); err != nil {
		return err
	}
	return unix.Kill(s.pid, sig)
}

// signal signals the server's process group unless the server has ended: then
// its pid may be anyone's. Between the reaping and the closing of ended lie
// microseconds, and pids are given out in a circle.
func (s *Server) signal(sig syscall.Signal) {
	select {
	case <-s.ended:
		return
	default:
	}
	if err := unix.Kill(-s.pid, sig); errors.Is(err, unix.ESRCH) {
		unix.Kill(s.pid, sig)
	}
}
