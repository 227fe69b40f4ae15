package main

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// kill -9 of the master: live connections go on, workers of both handoffs
// finish them, and the port is free for the next master at once.
func TestMasterIsKilled(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"worker": {"echo"}, "stdio": program("/bin/cat")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := systest.Start(t, args...)
			address := first.Listeners[0].Address
			clients := first.DialAll(t, 5)
			var workers []int
			for _, c := range clients {
				c.Echo(t, "before")
				workers = append(workers, c.Worker(t))
			}
			first.Kill(t)

			next := systest.Start(t, append([]string{"--listen", address}, args...)...)
			next.Dial(t).Echo(t, "new")
			for _, c := range clients {
				c.Echo(t, "after")
			}
			want := noise(1 << 20)
			go func() {
				clients[0].Write(want)
				clients[0].Conn.(interface{ CloseWrite() error }).CloseWrite()
			}()
			if got := clients[0].ExpectEnd(t); got != string(want) {
				t.Error("other bytes came back without a master")
			}
			for i, c := range clients {
				c.Close()
				systest.Until(t, "a worker that ends with its connection", func() bool { return !systest.Alive(workers[i]) }, nil)
			}
		})
	}
}

// A master starts at once while old connections are in TIME_WAIT on its port.
// The server closes first, so it is the server that has them.
func TestRestartInTimeWait(t *testing.T) {
	t.Parallel()
	args := []string{"--quit-word", "exit", "echo"}
	first := systest.Start(t, args...)
	address := first.Listeners[0].Address
	for range 5 {
		c := first.Dial(t)
		c.Send(t, "exit\n")
		c.ExpectEnd(t)
		c.Close()
	}
	first.WaitIdle(t)
	systest.Until(t, "connections in TIME_WAIT", func() bool { return inTimeWait(t, first.Listeners[0].Port()) > 0 }, nil)
	first.Stop(t)
	if inTimeWait(t, first.Listeners[0].Port()) == 0 {
		t.Fatal("no connection is in TIME_WAIT")
	}
	next := systest.Start(t, append([]string{"--listen", address}, args...)...)
	next.Dial(t).Echo(t, "hello")
}

// inTimeWait counts the connections in TIME_WAIT whose local end is the port.
func inTimeWait(t *testing.T, port string) int {
	t.Helper()
	data, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	var number int
	fmt.Sscan(port, &number)
	n := 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		const timeWait = "06" // TCP_TIME_WAIT of the kernel's tcp_states.h
		if len(f) > 3 && f[3] == timeWait && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", number)) {
			n++
		}
	}
	return n
}

// A second server on the very same address fails; the first does not notice.
func TestAddressInUse(t *testing.T) {
	t.Parallel()
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0", ":0", "unix:@preforkd-test-in-use-" + fmt.Sprint(os.Getpid())} {
		t.Run(listen, func(t *testing.T) {
			t.Parallel()
			m := systest.Start(t, "--listen", listen, "echo")
			l := m.Listeners[0]
			address := l.Address
			if l.Network == "unix" {
				address = listen
			}
			second := systest.Run(t, "serve", "--listen", address, "echo")
			if second.Code != 1 || !strings.Contains(second.Stderr, "address already in use") {
				t.Errorf("exit code %d: %s", second.Code, second.Stderr)
			}
			oneLine(t, second.Stderr)
			m.DialTo(t, l.Network, dialable(l)).Echo(t, "hello")
		})
	}
}

func dialable(l systest.Listener) string {
	if strings.HasPrefix(l.Address, "[::]:") || strings.HasPrefix(l.Address, ":") {
		return "127.0.0.1:" + l.Port()
	}
	return l.Address
}

// The same port on two local addresses is two addresses.
func TestSamePortOnOtherAddress(t *testing.T) {
	t.Parallel()
	first := systest.Start(t, "--listen", "127.0.0.1:0", "echo")
	second := systest.Start(t, "--listen", "127.0.0.2:"+first.Listeners[0].Port(), "--", "/bin/sh", "-c", "echo second")
	if got := second.Dial(t).ExpectEnd(t); got != "second\n" {
		t.Errorf("the second answers %q", got)
	}
	first.Dial(t).Echo(t, "first")
}

// All sockets bind or none serves: the first address is free again after the
// second was not to be had, and nobody was told that it listens.
func TestNothingStartsHalfWay(t *testing.T) {
	t.Parallel()
	holder := systest.Start(t, "echo")
	free := systest.Start(t, "echo")
	address := free.Listeners[0].Address
	free.Stop(t)
	path := systest.Dir(t) + "/s"
	result := systest.Run(t, "serve", "--log-format", "json", "--listen", address, "--listen", "unix:"+path, "--listen", holder.Listeners[0].Address, "echo")
	if result.Code != 1 || strings.Contains(result.Stderr, systest.Listening) {
		t.Errorf("exit code %d: %s", result.Code, result.Stderr)
	}
	oneLine(t, result.Stderr)
	if _, err := os.Lstat(path); err == nil {
		t.Error("the unix socket is left behind")
	}
	systest.Start(t, "--listen", address, "echo").Dial(t).Echo(t, "hello")
}

// A master that is stopped leaves the port to the next at once, with its
// workers still draining.
func TestPortIsFreeDuringDrain(t *testing.T) {
	t.Parallel()
	first := systest.Start(t, "--drain-timeout", "1h", "echo")
	c := first.Dial(t)
	c.Echo(t, "hello")
	drain(t, first, syscall.SIGTERM)
	next := systest.Start(t, "--listen", first.Listeners[0].Address, "echo")
	next.Dial(t).Echo(t, "new")
	c.Echo(t, "old")
	c.Close()
	stopped(t, first)
}
