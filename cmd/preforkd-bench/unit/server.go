package unit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/server"
)

// units is where systemd takes units from that are not to last.
const units = "/run/systemd/system"

// stopTimeout is how long stopping a unit may take: systemd may be busy with
// what it was loaded with.
const stopTimeout = 30 * time.Second

// A Server is one socket unit that is started.
type Server struct {
	*proc.Tree
	machine  *nspawn.Machine
	progress func(format string, args ...any)
	name     string
	port     int
}

func (s *Server) socket() string    { return s.name + ".socket" }
func (s *Server) template() string  { return s.name + "@.service" }
func (s *Server) instances() string { return s.name + "@*.service" }

func (s *Server) start(ctx context.Context, u server.Unit) error {
	program, err := os.ReadFile(u.Program)
	if err != nil {
		return err
	}
	for path, content := range map[string][]byte{
		server.UnitProgram:                 program,
		filepath.Join(units, s.socket()):   []byte(u.Socket),
		filepath.Join(units, s.template()): []byte(u.Service),
	} {
		if err := s.write(path, content); err != nil {
			return err
		}
	}
	if err := s.systemctl(ctx, "daemon-reload"); err != nil {
		return err
	}
	return s.systemctl(ctx, "start", s.socket())
}

// write writes a file of the machine's that everyone there can read and
// execute.
func (s *Server) write(path string, content []byte) error {
	path = s.machine.Path(path)
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, content, 0o755); err != nil {
		return err
	}
	// Whatever this process's umask is.
	for _, p := range []string{dir, path} {
		if err := os.Chmod(p, 0o755); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) systemctl(ctx context.Context, args ...string) error {
	_, err := s.machine.Run(ctx, "systemctl", args...)
	return err
}

// Alive reports whether the socket still listens: systemd stops one that is
// triggered more often than it is told to allow.
func (s *Server) Alive() error {
	if err := s.machine.Alive(); err != nil {
		return err
	}
	listening, err := proc.Listening(s.port)
	if listening || err != nil {
		return err
	}
	words, err := s.machine.Run(context.Background(), "journalctl", "--unit", s.socket(), "--lines=1", "--output=cat", "--quiet")
	if err != nil {
		return fmt.Errorf("the socket was stopped under load: %w", err)
	}
	return fmt.Errorf("the socket was stopped under load: %.200q", strings.TrimSpace(words))
}

// Stop stops the socket and every connection's service. The next server is not
// in doubt when that fails, but the numbers may be.
func (s *Server) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if err := s.stop(ctx); err != nil {
		s.progress("stop %s: %v", s.name, err)
	}
}

func (s *Server) stop(ctx context.Context) error {
	if err := s.machine.Alive(); err != nil {
		return err
	}
	// The socket first, or it would start more services.
	for _, name := range []string{s.socket(), s.instances()} {
		if err := s.systemctl(ctx, "stop", name); err != nil {
			return err
		}
	}
	return s.remove(ctx)
}

// remove makes systemd forget the units.
func (s *Server) remove(ctx context.Context) error {
	for _, name := range []string{s.socket(), s.template()} {
		if err := os.RemoveAll(s.machine.Path(filepath.Join(units, name))); err != nil {
			return err
		}
	}
	return s.systemctl(ctx, "daemon-reload")
}
