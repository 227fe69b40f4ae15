package server

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Refusals is a master of preforkd whose service refuses most of its peers.
type Refusals struct {
	Site
	Rules int // prefixes that are denied

	// MaxSources, unless it is 0, makes a peer that no rule is about wait for an
	// hour after each connection, and is how many of those the master remembers.
	// Then the service is the built-in echo, in workers that serve one
	// connection after the other: so many sources get to be known sooner.
	MaxSources int
}

// What is refused comes from addresses of the loopback.
const (
	deniedBlock  = 16                   // addresses that one rule denies, a /28
	firstDenied  = 127<<24 | 16<<16     // 127.16.0.0
	firstLimited = 127<<24 | 64<<16 | 1 // 127.64.0.1
	rulesPerLine = 100
	maxRules     = (firstLimited - firstDenied) / deniedBlock
)

// Denied returns an address that a rule denies. Each is of another rule, until
// all rules have had their turn.
func (r Refusals) Denied(i int) [4]byte {
	return loopback(firstDenied + uint32(i%r.Rules)*deniedBlock + uint32(i/r.Rules%deniedBlock))
}

// Limited returns an address that no rule is about.
func (r Refusals) Limited(i int) [4]byte { return loopback(firstLimited + uint32(i)) }

func loopback(address uint32) (a [4]byte) {
	binary.BigEndian.PutUint32(a[:], address)
	return a
}

// Command writes the configuration and returns the arguments that start the
// master.
func (r Refusals) Command() ([]string, error) {
	if r.Rules < 1 || r.Rules > maxRules {
		return nil, fmt.Errorf("configure refusals: %d rules: want 1 to %d", r.Rules, maxRules)
	}
	program, err := r.Build.Preforkd()
	if err != nil {
		return nil, err
	}
	echo, err := r.EchoPath()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(r.Dir, "refusals.toml")
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("configure refusals: %w", err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "[master]\ncontrol = \"none\"\n\n[service.echo]\nlisten = [\"127.0.0.1:%d\"]\nmax-connections = %d\n", r.Port, maxConnections)
	if r.MaxSources == 0 {
		fmt.Fprintf(w, "program = [%q]\n", echo)
	} else {
		fmt.Fprintf(w, "handler = \"echo\"\nspares = 16\nconnections-per-worker = 1000000\nrate-per-source = \"1/h\"\nmax-sources = %d\n", r.MaxSources)
	}
	fmt.Fprint(w, "deny = [")
	for i := range r.Rules {
		if i%rulesPerLine == 0 {
			fmt.Fprintln(w)
		}
		fmt.Fprintf(w, " \"%v/28\",", netip.AddrFrom4(r.Denied(i)))
	}
	fmt.Fprintln(w, "\n]")
	if r.MaxSources != 0 {
		// Those who are to be admitted have no limit.
		fmt.Fprintf(w, "\n[[service.echo.rule]]\nfrom = [\"127.1.0.0/16\"]\naction = \"allow\"\nrate-per-source = \"1000000/s\"\n")
	}
	if err := w.Flush(); err != nil {
		return nil, fmt.Errorf("configure refusals: %w", err)
	}
	return []string{program, "serve", "--config", path}, nil
}
