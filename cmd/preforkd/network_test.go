package main

import (
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/osthread"
)

// A network is a network namespace with a loopback, in which a master is started
// with Options.Wrap. It ends with the test.
type network struct {
	t    *testing.T
	wrap []string
	ip   string // ip(8)
	pid  string // of the process that holds the namespace
}

func init() {
	systest.Register("hold-network", func([]string) int {
		os.Stdout.WriteString("there")
		os.Stdin.Read(make([]byte, 1))
		return 0
	})
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	systest.NeedRoot(t)
	n := &network{t: t, ip: systest.Need(t, "ip")}
	nsenter := systest.Need(t, "nsenter")
	line := append(systest.Helper("in-network"), systest.Helper("hold-network")...)
	cmd := exec.Command(line[0], line[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	if _, err := out.Read(make([]byte, 10)); err != nil {
		t.Fatalf("no network: %v", err)
	}
	n.pid = strconv.Itoa(cmd.Process.Pid)
	own, _ := os.Readlink("/proc/self/ns/net")
	if theirs, err := os.Readlink("/proc/" + n.pid + "/ns/net"); err != nil || theirs == own {
		t.Fatalf("the network is not another one: %s, %v", theirs, err)
	}
	n.wrap = []string{nsenter, "--net=/proc/" + n.pid + "/ns/net", "--"}
	return n
}

// run runs ip(8) in the network.
func (n *network) run(args ...string) {
	n.t.Helper()
	line := append(append([]string{}, n.wrap...), n.ip)
	line = append(line, args...)
	out, err := exec.Command(line[0], line[1:]...).CombinedOutput()
	switch {
	case strings.Contains(string(out), "Unknown device type"):
		systest.Skip(n.t, "needs a kernel with veth interfaces")
	case err != nil:
		n.t.Fatalf("%v: %v, %s", line, err, out)
	}
}

// makeInterface makes a pair of interfaces, of which the first one has addresses,
// and the second one a link-local address. Neither looks for duplicates first.
func (n *network) makeInterface(name string, addresses ...string) {
	n.t.Helper()
	n.run("link", "add", name, "type", "veth", "peer", "name", name+"p")
	for _, a := range addresses {
		n.run("address", "add", a, "dev", name, "nodad")
	}
	n.run("address", "add", "fe80::2/64", "dev", name+"p", "nodad")
	n.run("link", "set", name, "up")
	n.run("link", "set", name+"p", "up")
}

// in runs f on a thread in the network.
func (n *network) in(f func()) {
	n.t.Helper()
	err := osthread.Run(func() error {
		fd, err := unix.Open("/proc/"+n.pid+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		f()
		return nil
	})
	if err != nil {
		n.t.Fatal(err)
	}
}

// dial connects within the network.
func (n *network) dial(address string) (conn net.Conn, err error) {
	n.in(func() {
		// Package net remembers the number of a name for a minute, in whatever
		// network that was.
		if before, rest, found := strings.Cut(address, "%"); found {
			name, port, _ := strings.Cut(rest, "]")
			ifi, failure := net.InterfaceByName(name)
			if failure != nil {
				err = failure
				return
			}
			address = before + "%" + strconv.Itoa(ifi.Index) + "]" + port
		}
		dialer := net.Dialer{Timeout: systest.Deadline()}
		conn, err = dialer.DialContext(context.Background(), "tcp", address)
	})
	if err == nil {
		conn.SetDeadline(time.Now().Add(systest.Deadline()))
	}
	return conn, err
}

// answer returns what a server in the network says when it gets nothing.
func (n *network) answer(address string) (string, error) {
	conn, err := n.dial(address)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	conn.(*net.TCPConn).CloseWrite()
	said, err := io.ReadAll(conn)
	return string(said), err
}
