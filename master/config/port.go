package config

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// parsePort parses a port: a number, or the name of a TCP service as inetd has
// them, such as "finger". Names are looked up in services(5), in the file itself
// and in no other database.
func parsePort(s string) (uint16, error) {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil {
		return uint16(n), nil
	}
	if !isServiceName(s) {
		return 0, fmt.Errorf("port %q is not a number from 0 to 65535", s)
	}
	ports, err := services.ports()
	if port, ok := ports[s]; ok {
		return port, nil
	}
	// Package net knows a few services where the file is missing.
	resolver := net.Resolver{PreferGo: true}
	if n, err := resolver.LookupPort(context.Background(), "tcp", s); err == nil {
		return uint16(n), nil
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("port %q is not a number, and there is no %s that could know the name", s, servicesFile)
	case err != nil:
		return 0, fmt.Errorf("port %q is not a number, and the name cannot be looked up: %w", s, err)
	}
	return 0, fmt.Errorf("port %q is neither a number from 0 to 65535 nor a TCP service in %s", s, servicesFile)
}

// isServiceName reports whether s has the form of a service's name: with a
// letter, and of the characters that are in use (RFC 6335 section 5.1, and
// services(5), where there are names such as whois++).
func isServiceName(s string) bool {
	if len(s) > 63 {
		return false
	}
	letter := false
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
			letter = true
		case '0' <= c && c <= '9', strings.IndexByte("-_+.", c) >= 0:
		default:
			return false
		}
	}
	return letter
}

const servicesFile = "/etc/services"

// services is the content of servicesFile. Package net reads the file only once,
// but after a reload a name must have the port that the file has then.
var services serviceFile

type serviceFile struct {
	mu       sync.Mutex // guards what follows
	size     int64
	modified time.Time
	tcp      map[string]uint16
}

// ports returns the ports of TCP services by name and alias.
func (f *serviceFile) ports() (map[string]uint16, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := os.Stat(servicesFile)
	if err != nil {
		return nil, err
	}
	if f.tcp != nil && info.Size() == f.size && info.ModTime().Equal(f.modified) {
		return f.tcp, nil
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New(servicesFile + " is not a file")
	}
	file, err := os.Open(servicesFile)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	tcp, err := parseServices(file)
	if err != nil {
		return nil, err
	}
	f.size, f.modified, f.tcp = info.Size(), info.ModTime(), tcp
	return tcp, nil
}

// parseServices reads lines of the form "name port/protocol alias..." with
// comments that begin with '#' (services(5)). The first line with a name counts,
// as for getservbyname(3). Lines of another form are skipped.
func parseServices(r io.Reader) (map[string]uint16, error) {
	tcp := map[string]uint16{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		number, protocol, _ := strings.Cut(fields[1], "/")
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || protocol != "tcp" {
			continue
		}
		for i, name := range fields {
			if _, known := tcp[name]; i != 1 && !known {
				tcp[name] = uint16(port)
			}
		}
	}
	return tcp, lines.Err()
}
