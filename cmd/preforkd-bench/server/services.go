package server

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Services is one master of preforkd with many services. Each listens at an
// address of its own and starts the static C echo.
type Services struct {
	Site
	Count int
}

// Addr returns where a service listens. The addresses are all of the loopback,
// so one port is enough, and none is in the way of anything else.
func (s Services) Addr(i int) netip.AddrPort { return s.addr(2, i) }

// MovedAddr returns where a service listens after Move.
func (s Services) MovedAddr(i int) netip.AddrPort { return s.addr(3, i) }

func (s Services) addr(net byte, i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, net, byte(i >> 8), byte(i)}), uint16(s.Port))
}

// Command writes the configuration and returns the arguments that start the
// master.
func (s Services) Command() ([]string, error) {
	program, err := s.Build.Preforkd()
	if err != nil {
		return nil, err
	}
	return []string{program, "serve", "--config", s.path()}, s.write(-1)
}

// Move changes one service in the configuration: it is to listen elsewhere.
func (s Services) Move(i int) error { return s.write(i) }

func (s Services) path() string { return filepath.Join(s.Dir, "services.toml") }

// write replaces the configuration as an editor does: by a rename.
func (s Services) write(moved int) error {
	echo, err := s.EchoPath()
	if err != nil {
		return err
	}
	f, err := os.Create(s.path() + ".new")
	if err != nil {
		return fmt.Errorf("configure services: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "[master]\ncontrol = \"none\"\n")
	for i := range s.Count {
		addr := s.Addr(i)
		if i == moved {
			addr = s.MovedAddr(i)
		}
		fmt.Fprintf(w, "\n[service.echo-%d]\nlisten  = [%q]\nprogram = [%q]\n", i, addr, echo)
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("configure services: %w", err)
	}
	if err := os.Rename(f.Name(), s.path()); err != nil {
		return fmt.Errorf("configure services: %w", err)
	}
	return nil
}
