package nspawn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// haltTimeout is how long a machine may take to stop what runs in it before it
// is ended as it is.
const haltTimeout = 20 * time.Second

// errEnded is what is said of a machine that is gone.
var errEnded = errors.New("the machine has ended")

// A Machine is a systemd that has been booted.
type Machine struct {
	Name   string // its host name too
	Leader int    // the pid of its pid 1, as seen from here

	processes Processes
	cmd       *exec.Cmd
	hold      io.WriteCloser // the pipe whose end is the machine's
	console   *console
	ended     chan struct{} // closed when everything of the machine's is gone
}

// Command returns a command that runs in all namespaces of the machine, as its
// root. The path of the program is the machine's.
func (m *Machine) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(m.Leader), "--all", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	// The caller's environment speaks of the caller's surroundings.
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	return cmd
}

// Run runs a command in the machine and returns what it prints on stdout. The
// error has what it prints on stderr.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (string, error) {
	cmd := m.Command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := m.processes.Start(cmd)
	if err == nil {
		err = m.processes.Wait(cmd)
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return stdout.String(), err
}

// Path returns the path by which this process reaches an absolute path of the
// machine's. Absolute symbolic links on the way lead out of it again.
func (m *Machine) Path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(m.Leader), "root", path)
}

// PID returns the pid by which this process knows a process that the machine
// knows by another one, 0 when there is none.
func (m *Machine) PID(inside int) int {
	statuses, _ := filepath.Glob("/proc/[0-9]*/status")
	own, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", m.Leader))
	if err != nil {
		return 0
	}
	for _, path := range statuses {
		data, _ := os.ReadFile(path)
		_, rest, _ := strings.Cut(string(data), "\nNSpid:")
		line, _, _ := strings.Cut(rest, "\n")
		ids := strings.Fields(line)
		if len(ids) < 2 || ids[len(ids)-1] != strconv.Itoa(inside) {
			continue
		}
		if ns, _ := os.Readlink(filepath.Join(filepath.Dir(path), "ns", "pid")); ns == own {
			pid, _ := strconv.Atoi(ids[0])
			return pid
		}
	}
	return 0
}

// Dial connects to an address in the network of the machine; of a unix socket
// it is a path of the machine's. Host names are not resolved.
func (m *Machine) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	if network == "unix" {
		return dialer.DialContext(ctx, network, m.Path(address))
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", m.Leader))
	if err != nil {
		return nil, fmt.Errorf("enter the network of %s: %w", m.Name, err)
	}
	defer ns.Close()

	// A socket belongs to the network namespace of the thread that makes it.
	var conn net.Conn
	err = osthread.Run(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network of %s: %w", m.Name, err)
		}
		var err error
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Alive returns an error when the machine has ended.
func (m *Machine) Alive() error {
	select {
	case <-m.ended:
		return errEnded
	default:
		return nil
	}
}

// Console returns the last lines that the machine has written to its console.
func (m *Machine) Console(lines int) string { return m.console.last(lines) }

// Close stops what runs in the machine, in order if that does not take long,
// and takes it down. It returns when nothing of it is left.
func (m *Machine) Close() error {
	if m.Leader > 0 {
		// "SIGRTMIN+3: Halts the machine" (systemd(1)).
		const sigRTMin = 34
		unix.Kill(m.Leader, sigRTMin+3)
		m.awaitHalt()
	}
	return m.end()
}

// end takes the machine down as it is. It returns when nothing of it is left.
func (m *Machine) end() error {
	m.hold.Close()
	<-m.ended
	return RemoveGroups(m.Name)
}

// awaitHalt waits until the machine has halted, but not forever.
func (m *Machine) awaitHalt() {
	ctx, cancel := context.WithTimeout(context.Background(), haltTimeout)
	defer cancel()
	m.poll(ctx, func() bool { return m.findLeader() == 0 })
}

// RemoveGroups removes the control groups that the machine of a name had below
// that of this process: those of one whose owner was killed are left. There must
// be no process in them any more.
func RemoveGroups(name string) error {
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return fmt.Errorf("remove the control groups of %s: %w", name, err)
	}
	var errs []error
	for line := range strings.Lines(string(own)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		for _, top := range []string{"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
			errs = append(errs, removeTree(filepath.Join(top, fields[2], name)))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes the directories of a tree of control groups, from the
// leaves on; the files in them go with them. One that is not there is fine.
func removeTree(root string) error {
	var dirs []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = os.Remove(dirs[i])
	}
	return err
}
