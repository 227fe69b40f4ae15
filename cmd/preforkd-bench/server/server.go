package server

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/nspawn"
)

// Backlog is what every server is asked to listen with, where it lets one ask.
const Backlog = 4096

// maxConnections is what servers are told that insist on a limit: above
// every load, so it is never met.
const maxConnections = 20000

// A Class says how a server makes the process that serves a connection. Only
// servers of one class do the same work.
type Class string

// The classes.
const (
	Exec     Class = "exec"     // a program, executed freshly for each connection
	Fork     Class = "fork"     // a copy of the server, without exec
	Spare    Class = "spare"    // a fresh process each, started ahead of its connection
	Pool     Class = "pool"     // processes that serve many connections, one at a time
	Baseline Class = "baseline" // the least possible, for comparison
)

// A Definition is one row of the table.
type Definition struct {
	Name  string
	Class Class
	About string // one line

	// Program is the server's; it is empty for what is built. Package is the
	// Debian package that has it. Origin says where else it comes from when
	// there is no such package.
	Program string
	Package string
	Origin  string

	// Command returns the arguments that start the server. It may write files
	// into site.Dir, which is the server's alone.
	Command func(site Site) ([]string, error)

	// Unit, in place of Command, returns the units of systemd that are the
	// server. They are started in a machine that is booted for them.
	Unit func(site Site) (Unit, error)

	// StartsEcho says that the server starts the static C echo, so that it is
	// another server with another echo.
	StartsEcho bool

	// Variant marks a second way to run a server that is in the table already.
	// Short runs leave it out unless it is asked for by name.
	Variant bool

	// Boxed marks a server that isolates what it starts. Only the scenarios of
	// boxes have it.
	Boxed bool

	// Except names scenarios that the server is left out of, and why.
	Except map[string]string
}

// A Site is where one start of a server takes place.
type Site struct {
	Build   *Build // the compiled programs
	Dir     string // empty directory of this start
	Port    int    // on 127.0.0.1
	Program string // absolute path of the definition's Program
	Echo    Echo   // what the server starts; empty for what the build says
}

// EchoPath returns the path of the C echo that the server starts.
func (s Site) EchoPath() (string, error) { return s.Build.Echo(s.Echo) }

// A Server is a definition whose programs are there.
type Server struct {
	Definition
	Path    string // of its program; empty for what is built
	Version string
}

// Select returns the definitions with the given names, in the table's order.
func Select(names []string) ([]Definition, error) {
	if len(names) == 0 {
		return Table, nil
	}
	wanted := make(map[string]bool)
	for _, name := range names {
		wanted[name] = true
	}
	var found []Definition
	for _, d := range Table {
		if wanted[d.Name] {
			found = append(found, d)
			delete(wanted, d.Name)
		}
	}
	for _, name := range names {
		if wanted[name] {
			return nil, fmt.Errorf("server %q: no such server; there are %s", name, strings.Join(Names(), ", "))
		}
	}
	return found, nil
}

// Names returns the names of all servers.
func Names() []string {
	var names []string
	for _, d := range Table {
		names = append(names, d.Name)
	}
	return names
}

// Packages returns the Debian packages of all servers and compilers, each once.
func Packages() []string {
	packages := slices.Concat(compilerPackages["gcc"], compilerPackages["musl-gcc"])
	seen := make(map[string]bool)
	for _, d := range Table {
		if d.Package != "" && !seen[d.Package] {
			seen[d.Package] = true
			packages = append(packages, d.Package)
		}
	}
	return packages
}

// runner runs a command to its end.
type runner interface {
	Run(*exec.Cmd) error
}

// Find looks for a definition's program and asks for its version. The error
// is the reason for leaving the server out.
func Find(ctx context.Context, run runner, build *Build, d Definition) (Server, error) {
	s := Server{Definition: d}
	if err := d.Installed(); err != nil {
		return s, err
	}
	s.Path, _ = lookPath(d.Program)
	site := Site{Build: build, Program: s.Path, Dir: build.probe, Port: 1}
	var args []string
	var err error
	if d.Unit != nil {
		_, err = d.Unit(site)
	} else {
		args, err = d.Command(site)
	}
	if err != nil {
		return s, err
	}
	switch {
	case d.Package != "":
		s.Version = packageVersion(ctx, run, d.Package)
	case args[0] == build.preforkd:
		s.Version = build.version
	}
	return s, nil
}

// Installed returns an error that names the missing package when the
// definition's program is not there, or says why no machine can be booted for
// its units. What is built counts as installed.
func (d Definition) Installed() error {
	if d.Unit != nil {
		return nspawn.Missing()
	}
	if d.Program == "" {
		return nil
	}
	if _, err := lookPath(d.Program); err != nil {
		if d.Package == "" {
			return fmt.Errorf("%s is not installed (%s)", d.Program, d.Origin)
		}
		return fmt.Errorf("%s is not installed (Debian package %s)", d.Program, d.Package)
	}
	return nil
}

// lookPath is exec.LookPath with the directories that hold servers and are not
// on everyone's path.
func lookPath(program string) (string, error) {
	path, err := exec.LookPath(program)
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if err == nil || !errors.Is(err, exec.ErrNotFound) {
			break
		}
		path, err = exec.LookPath(dir + program)
	}
	return path, err
}

// packageVersion returns the installed version of a Debian package.
func packageVersion(ctx context.Context, run runner, name string) string {
	var out strings.Builder
	cmd := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", name)
	cmd.Stdout = &out
	if run.Run(cmd) != nil {
		return "unknown"
	}
	return strings.TrimSpace(out.String())
}
