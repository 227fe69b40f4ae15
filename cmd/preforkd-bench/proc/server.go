package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	startTimeout = 10 * time.Second // from start to listening
	stopTimeout  = 3 * time.Second  // from SIGTERM to SIGKILL
)

// A Server is one running server under test.
type Server struct {
	Tree
	cmd   *exec.Cmd
	port  int
	log   string // path of what it prints
	ended chan struct{}
}

// limitFiles starts a program with the limit of open files that systemd gives
// its services, whatever this process has. Some servers close every possible
// descriptor in every child, and a large limit would be their only cost.
const limitFiles = `ulimit -Sn 1024 2>/dev/null; exec "$@"`

// Serve starts a server in a process group of its own and waits until
// something listens on 127.0.0.1:port. What it prints goes to the file log.
// The caller stops it, also after an error of anything else.
func (c *Children) Serve(ctx context.Context, args []string, port int, log string) (*Server, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	defer out.Close()
	cmd := exec.Command("/bin/sh", append([]string{"-c", limitFiles, "sh"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	s := &Server{Tree: Tree{children: c, pid: cmd.Process.Pid}, cmd: cmd, port: port, log: log, ended: make(chan struct{})}
	go func() {
		defer close(s.ended)
		c.Wait(cmd) // the status of a server that is told to stop says nothing
	}()
	if err := s.awaitListening(ctx); err != nil {
		s.Stop()
		return nil, fmt.Errorf("start %s: %w", args[0], err)
	}
	s.rest(ctx)
	return s, nil
}

func (s *Server) awaitListening(ctx context.Context) error {
	for deadline := time.Now().Add(startTimeout); ; {
		listening, err := Listening(s.port)
		if listening || err != nil {
			return err
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended by itself: %s", s.lastWords())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("nothing listens on port %d after %v: %s", s.port, startTimeout, s.lastWords())
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

// lastWords returns the end of what the server printed.
func (s *Server) lastWords() string {
	content, err := os.ReadFile(s.log)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return "it printed nothing"
	}
	return fmt.Sprintf("it printed %.200q", last)
}

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
