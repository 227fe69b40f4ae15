package systest

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
)

// Options say how a master is started. The zero value serves echo on the
// default address, which a test rarely wants; see Start.
type Options struct {
	// Args follow "preforkd serve --log-format json".
	Args []string

	// Config is the text of a configuration file, which Args then says nothing
	// about. The master listens on as many addresses as Listeners says, one
	// unless set; so does one without --listen, where sockets are passed.
	Config    string
	Listeners int

	// Control gives a master that is started with Args a control socket, which
	// it has otherwise only with a Config. See Master.Control.
	Control bool

	// Program is the path of the preforkd that is started, Preforkd unless set.
	Program string

	// Wrap is a command in front of the command line. It must end in exec,
	// because the process it starts as is taken for the master.
	Wrap []string

	// Env is added to PATH and the instrumentation's variables, which are all
	// that a master has otherwise.
	Env []string

	// Passed are descriptors that the master is passed as by a service manager.
	Passed []Passed

	// Attr, Dir are those of exec.Cmd.
	Attr *syscall.SysProcAttr
	Dir  string

	// Terminal makes a pseudoterminal the controlling one, and 0, 1 and 2.
	Terminal bool

	// LogFormat is the value of --log-format: "json" unless set. With "none"
	// the flag is left out.
	LogFormat string

	// NoListen leaves the address to the master's default.
	NoListen bool

	// Quiet leaves out the wait for listening events, for a format without.
	Quiet bool
}

// Start starts "preforkd serve" with these arguments after the log format's,
// and waits until it listens. Without a --listen among them it listens on a
// port of the kernel's choice at 127.0.0.1.
func Start(t testing.TB, args ...string) *Master {
	t.Helper()
	return Options{Args: args}.Start(t)
}

// Start starts a master and waits until it listens on all its addresses. When
// the test ends the master is stopped and checked, see Master.
func (o Options) Start(t testing.TB) *Master {
	t.Helper()
	m := &Master{t: t, log: newLog(), exited: make(chan struct{}), StopSignal: syscall.SIGTERM}
	// Masters of one machine would quarrel over the default one. This is where
	// those look that are told nothing else.
	runtime := Dir(t)
	m.Control = filepath.Join(runtime, "control.sock")
	o.Env = append([]string{"RUNTIME_DIRECTORY=" + runtime}, o.Env...)
	listeners, hasControl := 0, false
	for i, arg := range o.Args {
		if arg == "--" {
			break
		}
		if (arg == "--spares" || arg == "--min-spares" || arg == "--max-spares") && i+1 < len(o.Args) {
			n, _ := strconv.Atoi(o.Args[i+1])
			m.Spares = max(m.Spares, n)
		}
		hasControl = hasControl || arg == "--control"
		m.Boxed = m.Boxed || strings.HasPrefix(arg, "--box-")
		if arg == "--listen" || strings.HasPrefix(arg, "--listen=") {
			listeners++
		}
	}
	if o.Config != "" {
		m.Config = filepath.Join(Dir(t), "preforkd.toml")
		m.WriteConfig(t, o.Config)
		o.Args = append([]string{"--config", m.Config}, o.Args...)
		listeners = o.Listeners
		m.Boxed = strings.Contains(o.Config, "box.")
	} else {
		switch {
		case listeners == 0 && o.Listeners > 0:
			listeners = o.Listeners
		case listeners == 0 && !o.NoListen:
			o.Args = append([]string{"--listen", "127.0.0.1:0"}, o.Args...)
		}
		if !o.Control && !hasControl {
			o.Args = append([]string{"--control", "none"}, o.Args...)
		}
	}
	listeners = max(listeners, 1)
	m.supervised = slices.ContainsFunc(o.Env, func(variable string) bool { return strings.HasPrefix(variable, "NOTIFY_SOCKET=") })
	files := pass(&o)
	m.cmd = o.command(t)
	m.cmd.ExtraFiles = files

	var stderr io.ReadCloser
	if o.Terminal {
		terminal, end, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		m.cmd.Stdin, m.cmd.Stdout, m.cmd.Stderr = end, end, end
		attr := syscall.SysProcAttr{}
		if o.Attr != nil {
			attr = *o.Attr
		}
		attr.Setsid, attr.Setctty = true, true
		m.cmd.SysProcAttr = &attr
		m.Terminal, stderr = terminal, terminal
		defer end.Close()
	} else {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		m.cmd.Stderr, m.stderr, stderr = w, r, r
		defer w.Close()
	}
	if err := m.cmd.Start(); err != nil {
		t.Fatalf("start %v: %v", m.cmd.Args, err)
	}
	o.passed()
	m.PID = m.cmd.Process.Pid
	go func() { m.log.collect(stderr) }()
	go func() {
		m.cmd.Wait()
		close(m.exited)
	}()
	t.Cleanup(func() {
		m.finish()
		stderr.Close()
	})
	if o.Quiet {
		return m
	}
	for _, e := range m.Wait(t, listeners, Is(Listening)) {
		m.Listeners = append(m.Listeners, parseListener(e))
	}
	m.Baseline(t)
	return m
}

func (o Options) program(t testing.TB) string {
	t.Helper()
	if o.Program != "" {
		return o.Program
	}
	return Preforkd(t)
}

// command returns the command of a master.
func (o Options) command(t testing.TB) *exec.Cmd {
	t.Helper()
	line := append(append([]string{}, o.Wrap...), o.program(t), "serve")
	switch o.LogFormat {
	case "none":
	case "":
		line = append(line, "--log-format", "json")
	default:
		line = append(line, "--log-format", o.LogFormat)
	}
	return o.exec(append(line, o.Args...))
}

func (o Options) exec(line []string) *exec.Cmd {
	cmd := exec.Command(line[0], line[1:]...)
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"),
		"GOCOVERDIR=" + coverDir(),
		// Without this a program with the race detector takes a second to end.
		"GORACE=atexit_sleep_ms=0",
	}, o.Env...)
	cmd.SysProcAttr, cmd.Dir = o.Attr, o.Dir
	return cmd
}
