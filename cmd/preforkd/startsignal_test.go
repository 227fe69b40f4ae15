package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// opened returns a function that waits until somebody opens a file.
func opened(t *testing.T, path string) func() {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_OPEN); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		var event [4096]byte
		systest.Until(t, "the master to open "+path, func() bool { n, _ := unix.Read(fd, event[:]); return n > 0 }, nil)
	}
}

// A signal while the master starts, from the reading of the file on, is acted on:
// at once if it ends the master, otherwise when it serves.
func TestSignalsDuringStart(t *testing.T) {
	t.Parallel()
	const services = 400 // so that the start takes a while
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGQUIT, syscall.SIGTERM, syscall.SIGINT} {
		t.Run(unix.SignalName(sig), func(t *testing.T) {
			t.Parallel()
			dir := systest.Dir(t)
			var text strings.Builder
			fmt.Fprintf(&text, "[master]\ncontrol = 'none'\n[service.file]\nlisten = ['unix:%s/socket']\nprogram = ['/bin/cat']\n", dir)
			for i := range services {
				fmt.Fprintf(&text, "[service.s%d]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n", i)
			}
			config := dir + "/preforkd.toml"
			if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
				t.Fatal(err)
			}
			start := func() (*systest.Master, time.Time) {
				read := opened(t, config)
				m := systest.Options{Args: []string{"--config", config}, NoListen: true, Control: true, Quiet: true}.Start(t)
				read()
				return m, time.Now()
			}
			// How long a start takes here.
			m, begun := start()
			m.Wait(t, services+1, systest.Is(systest.Listening))
			took := time.Since(begun)
			m.Stop(t)
			for i := range 6 {
				m, _ := start()
				delay := time.Duration(0)
				if i > 0 {
					delay = rand.N(took + took/4)
				}
				time.Sleep(delay)
				m.Signal(t, sig)
				switch sig {
				case syscall.SIGHUP:
					m.WaitFor(t, systest.Is(systest.Reloaded))
				case syscall.SIGUSR1:
					m.WaitFor(t, systest.Is("status"))
				}
				if !endsMaster(sig) {
					m.Signal(t, syscall.SIGTERM)
				}
				if code := m.WaitExit(t); code != 0 {
					t.Errorf("after %v of %v: exit code %d\n%s", delay, took, code, m.Log())
				}
				if strings.Contains(m.Log(), "goroutine ") {
					t.Errorf("after %v of %v:\n%s", delay, took, m.Log())
				}
				if _, err := os.Lstat(dir + "/socket"); err == nil {
					t.Errorf("after %v of %v the socket is left behind", delay, took)
				}
			}
		})
	}
}

func endsMaster(sig syscall.Signal) bool { return sig != syscall.SIGHUP && sig != syscall.SIGUSR1 }

// A storm of signals while the master starts leaves none of them out.
func TestManySignalsDuringStart(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	config := dir + "/preforkd.toml"
	var text strings.Builder
	text.WriteString("[master]\ncontrol = 'none'\n")
	for i := range 300 {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n", i)
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	read := opened(t, config)
	m := systest.Options{Args: []string{"--config", config}, NoListen: true, Control: true, Quiet: true}.Start(t)
	read()
	for range 200 {
		m.Signal(t, syscall.SIGHUP)
		m.Signal(t, syscall.SIGUSR1)
		time.Sleep(100 * time.Microsecond) // the kernel keeps one at a time
	}
	m.WaitFor(t, systest.Is(systest.Reloaded))
	m.WaitFor(t, systest.Is("status"))
	m.Signal(t, syscall.SIGTERM)
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
