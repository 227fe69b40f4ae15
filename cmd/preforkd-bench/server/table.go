package server

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
)

// Table holds all servers, in the order of reports. The peers that start a
// program per connection all start the same static C echo.
var Table = slices.Concat(servers, boxes)

// servers are all that do not isolate what they start, or not for its own sake.
var servers = []Definition{
	{
		Name: "preforkd-stdio", Class: Exec,
		About:   "preforkd, a static C echo on fds 0 and 1",
		Command: preforkd(nil, "--", "{echo}"), StartsEcho: true,
	},
	{
		Name: "preforkd-quiet", Class: Exec, Variant: true,
		About:   "the same, without a log line per connection",
		Command: preforkd([]string{"--log-level", "warn"}, "--", "{echo}"), StartsEcho: true,
	},
	{
		Name: "preforkd-echo", Class: Exec,
		About:   "preforkd, its built-in echo in a fresh Go process",
		Command: preforkd(nil, "echo"),
	},
	{
		Name: "preforkd-spares", Class: Spare,
		About:   "the same, with 16 workers started ahead of their connections",
		Command: preforkd([]string{"--spares", "16"}, "echo"),
	},
	{
		Name: "preforkd-reuse", Class: Pool,
		About:   "the same, with 16 workers that serve one connection after the other",
		Command: preforkd([]string{"--spares", "16", "--connections-per-worker", "1000000"}, "echo"),
	},
	{
		Name: "tcpserver", Class: Exec,
		About:   "ucspi-tcp's tcpserver, a static C echo",
		Package: "ucspi-tcp", Program: "tcpserver",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, "-H", "-R", "-l", "localhost",
				"-c", strconv.Itoa(maxConnections), "-b", strconv.Itoa(Backlog),
				"127.0.0.1", strconv.Itoa(s.Port), echo}
		}),
	},
	{
		Name: "tcpserver-verbose", Class: Exec, Variant: true,
		About:   "the same, with its log lines (-v)",
		Package: "ucspi-tcp", Program: "tcpserver",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, "-v", "-H", "-R", "-l", "localhost",
				"-c", strconv.Itoa(maxConnections), "-b", strconv.Itoa(Backlog),
				"127.0.0.1", strconv.Itoa(s.Port), echo}
		}),
	},
	{
		Name: "s6-tcpserverd", Class: Exec,
		About:      "s6-networking's s6-tcpserver, which becomes s6-tcpserverd",
		Origin:     "s6-networking of skarnet.org; Debian 12 and 13 have no package of it",
		Program:    "s6-tcpserver",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, "-q", "-c", strconv.Itoa(s6Connections), "-C", strconv.Itoa(s6Connections),
				"-b", strconv.Itoa(Backlog), "127.0.0.1", strconv.Itoa(s.Port), echo}
		}),
	},
	{
		Name: "socat", Class: Exec,
		About:   "socat TCP-LISTEN,fork EXEC: copies between socket and program",
		Package: "socat", Program: "socat",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, socatListen(s.Port), "EXEC:" + echo}
		}),
	},
	{
		Name: "socat-nofork", Class: Exec, Variant: true,
		About:   "socat TCP-LISTEN,fork EXEC,nofork: hands the socket over",
		Package: "socat", Program: "socat",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, socatListen(s.Port), "EXEC:" + echo + ",nofork"}
		}),
	},
	{
		Name: "ncat", Class: Exec,
		About:   "ncat --keep-open --exec; its backlog is fixed",
		Package: "ncat", Program: "ncat",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, "--listen", "--keep-open", "--nodns",
				"--max-conns", strconv.Itoa(maxConnections), "--exec", echo,
				"127.0.0.1", strconv.Itoa(s.Port)}
		}),
		Except: map[string]string{"bulk": "it stalls, or loses the end of the stream"},
	},
	{
		Name: "xinetd", Class: Exec,
		About:   "xinetd, wait = no; its backlog is fixed",
		Package: "xinetd", Program: "xinetd",
		Command: xinetd, StartsEcho: true,
	},
	{
		Name: "systemd", Class: Exec,
		About:   "systemd-socket-activate --accept --inetd; its backlog is the system's largest",
		Package: "systemd", Program: "systemd-socket-activate",
		StartsEcho: true,
		Command: withEcho(func(s Site, echo string) []string {
			return []string{s.Program, "--accept", "--inetd",
				"--listen", fmt.Sprintf("127.0.0.1:%d", s.Port), echo}
		}),
	},
	{
		Name: "systemd-accept", Class: Exec, Variant: true,
		About:   "systemd itself, a socket unit with Accept=yes and a service for each connection",
		Package: "systemd-container", Program: "systemd-nspawn",
		Unit: acceptUnit(""), StartsEcho: true,
		Except: unitExcept,
	},
	{
		Name: "systemd-sandbox", Class: Exec, Variant: true,
		About:   "the same, the service confined as an administrator would",
		Package: "systemd-container", Program: "systemd-nspawn",
		Unit: acceptUnit(sandbox), StartsEcho: true,
		Except: unitExcept,
	},
	{
		Name: "apache", Class: Pool,
		About:   "apache2 with mod_echo on the prefork MPM",
		Package: "apache2-bin", Program: "apache2",
		Command: apache,
		Except: map[string]string{
			"idle":   "its pool of processes grows by at most 32 a second",
			"growth": "its pool of processes grows by at most 32 a second",
			"bulk":   "mod_echo works by the line",
		},
	},
	{
		Name: "fork-c", Class: Fork,
		About:   "the sources' own server: fork without exec, C, 1 KiB buffer",
		Command: own("forkserver"),
	},
	{
		Name: "baseline-c", Class: Baseline,
		About:   "accept, vfork, exec of the static C echo, wait; nothing else",
		Command: baseline(Site.EchoPath), StartsEcho: true,
	},
	{
		Name: "baseline-forkexec", Class: Baseline, Variant: true,
		About:   "the same in Go, with syscall.ForkExec",
		Command: goBaseline("forkexec"), StartsEcho: true,
	},
	{
		Name: "baseline-osexec", Class: Baseline, Variant: true,
		About:   "the same in Go, with os/exec",
		Command: goBaseline("osexec"), StartsEcho: true,
	},
	{
		Name: "baseline-go", Class: Baseline,
		About:   "accept, vfork, exec of a bare Go program that copies fd 3, wait",
		Command: baseline(func(s Site) (string, error) { return s.Build.Program("barego") }),
	},
	{
		Name: "baseline-fdpass", Class: Baseline, Variant: true,
		About:   "a C master that passes connections to a pool of 16 C workers over SCM_RIGHTS",
		Command: own("baselinefdpass"),
		Except:  noGrowth,
	},
	{
		Name: "baseline-fdpass-go", Class: Baseline, Variant: true,
		About:   "the same master, workers that are bare Go programs",
		Command: own("baselinefdpass", "gopass"),
		Except:  noGrowth,
	},
}

// s6Connections is the most that s6-tcpserverd serves at once, whatever it is
// told.
const s6Connections = 16384

// noGrowth is what the baselines of pools are left out of.
var noGrowth = map[string]string{
	"idle":   "its pool of processes does not grow",
	"growth": "its pool of processes does not grow",
}

// withEcho completes a command that starts the static C echo.
func withEcho(command func(s Site, echo string) []string) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		echo, err := s.EchoPath()
		return command(s, echo), err
	}
}

// preforkd completes a command line of preforkd serve; {echo} stands for the
// static C echo.
func preforkd(flags []string, handler ...string) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		program, err := s.Build.Preforkd()
		if err != nil {
			return nil, err
		}
		echo, err := s.EchoPath()
		args := []string{program, "serve", "--control", "none", "--listen", fmt.Sprintf("127.0.0.1:%d", s.Port),
			"--max-connections", strconv.Itoa(maxConnections)}
		args = append(args, flags...)
		for _, arg := range handler {
			if arg == "{echo}" {
				arg = echo
			}
			args = append(args, arg)
		}
		return args, err
	}
}

// own completes the command of a server that is built from testdata, as are
// the programs that it is given.
func own(name string, given ...string) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		program, err := s.Build.Program(name)
		args := []string{program, strconv.Itoa(s.Port)}
		for _, name := range given {
			path, failed := s.Build.Program(name)
			args, err = append(args, path), cmp.Or(err, failed)
		}
		return args, err
	}
}

func baseline(program func(Site) (string, error)) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		server, err := s.Build.Program("baselineserver")
		if err != nil {
			return nil, err
		}
		path, err := program(s)
		return []string{server, strconv.Itoa(s.Port), path}, err
	}
}

func goBaseline(how string) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		server, err := s.Build.Program("gobaseline")
		if err != nil {
			return nil, err
		}
		echo, err := s.EchoPath()
		return []string{server, how, strconv.Itoa(s.Port), echo}, err
	}
}

func socatListen(port int) string {
	return fmt.Sprintf("TCP4-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork,backlog=%d", port, Backlog)
}
