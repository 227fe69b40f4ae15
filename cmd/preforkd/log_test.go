package main

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// Off a terminal the log is JSON, every line of it, with time and level.
func TestLogIsJSONByDefault(t *testing.T) {
	t.Parallel()
	m := systest.Options{LogFormat: "none", Args: []string{"echo"}}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	c.End(t)
	m.Stop(t)
	m.WaitLogEnd(t)
	for _, e := range m.Events(anyEvent) {
		var at time.Time
		if err := json.Unmarshal(e.TS, &at); err != nil || e.Level == "" || e.Msg == "" {
			t.Errorf("no event: %s (%v)", e.Line, err)
		}
	}
	var order []string
	for _, e := range m.Events(anyEvent) {
		order = append(order, e.Msg)
	}
	want := []string{systest.Listening, systest.Accepted, systest.Reaped, systest.Draining, systest.Stopped}
	if !slices.Equal(order, want) {
		t.Errorf("events %q, want %q", order, want)
	}
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*m")

// On a terminal the log is a table: one line to a connection's end, and every
// such line has its columns where the others have theirs.
func TestLogOnTerminal(t *testing.T) {
	t.Parallel()
	m := systest.Options{Terminal: true, LogFormat: "none", Quiet: true, Args: []string{"echo"}}.Start(t)
	m.LossyLog = true
	listening := m.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, systest.Listening) })
	var peers []string
	for _, word := range []string{"a", "some words", string(noise(100_000))} {
		c := m.Wrap(dialFirst(t, colours.ReplaceAllString(listening.Line, "")))
		c.Echo(t, word)
		peers = append(peers, c.LocalAddr().String())
		c.Close()
	}
	var column []int
	for i, peer := range peers {
		ends := m.Wait(t, 1, func(e systest.Event) bool {
			return strings.Contains(e.Line, systest.Reaped) && strings.Contains(e.Line, peer)
		})
		if len(ends) != 1 {
			t.Errorf("%d lines for the end of %s", len(ends), peer)
		}
		line := colours.ReplaceAllString(ends[0].Line, "")
		if strings.HasPrefix(line, "{") || strings.ContainsAny(line, "\t\x1b") {
			t.Errorf("not a line for people: %q", line)
		}
		var at []int
		for _, word := range []string{systest.Reaped, "echo", peer, "pid ", "exit 0", "eof", " cpu ", " rss "} {
			k := strings.Index(line, word)
			if k < 0 {
				t.Errorf("%q is missing in %q", word, line)
			}
			at = append(at, k)
		}
		if i == 0 {
			column = at
		} else if !slices.Equal(at, column) {
			t.Errorf("columns at %v, before at %v:\n%s", at, column, m.Log())
		}
	}
	m.Signal(t, syscall.SIGTERM)
	if code := m.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// --log-format decides, wherever the log goes.
func TestLogFormatIsChosen(t *testing.T) {
	t.Parallel()
	m := systest.Options{Terminal: true, LogFormat: "json", Args: []string{"echo"}}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.Close()
	c.End(t)

	console := systest.Options{LogFormat: "console", Quiet: true, Args: []string{"echo"}}.Start(t)
	console.LossyLog = true
	line := console.WaitFor(t, func(e systest.Event) bool { return strings.Contains(e.Line, systest.Listening) })
	if strings.ContainsAny(line.Line, "{}\x1b") {
		t.Errorf("not a plain line: %q", line.Line)
	}
	console.StopSignal = syscall.SIGQUIT
}

func TestLogLevel(t *testing.T) {
	t.Parallel()
	m := systest.Options{Quiet: true, Args: []string{"--log-level", "error", "echo"}}.Start(t)
	systest.Until(t, "listening", func() bool {
		for _, s := range systest.SocketsOf(m.PID) {
			defer s.Close()
			if s.Backlog() > 0 {
				return true
			}
		}
		return false
	}, nil)
	m.Signal(t, syscall.SIGTERM)
	m.WaitExit(t)
	m.WaitLogEnd(t)
	for _, e := range m.Events(anyEvent) {
		t.Errorf("logged: %s", e.Line)
	}
}

// A reader of the log that has stopped reading stops the log, not the service.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	m := systest.Start(t, program("/bin/cat")...)
	m.LossyLog = true
	m.PauseLog()
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for range 50 { // many times what the pipe holds
				c, err := m.TryDial()
				if err != nil {
					t.Error(err)
					return
				}
				if err := c.TryEcho("hello"); err != nil {
					t.Error(err)
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	systest.Until(t, "without children", func() bool { return len(systest.Children(m.PID)) == 0 }, nil)
	m.ResumeLog()
	c := m.Dial(t)
	c.Echo(t, "after")
	c.Close()
	c.End(t) // what is logged from here on is read again
}

// A client cannot write into the log: its name is quoted like any value.
func TestLogIsNotForged(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	m := systest.Start(t, "--listen", "unix:"+dir+"/s", "echo")
	name := dir + "/\n{\"msg\":\"forged\"}\x1b[31m"
	c := dialFrom(t, name, dir+"/s")
	m.Wrap(c).Echo(t, "hello")
	c.Close()
	if e := m.WaitFor(t, systest.Is(systest.Reaped)); !strings.Contains(e.Peer, name) {
		t.Errorf("peer %q", e.Peer)
	}
	if forged := m.Events(systest.Is("forged")); len(forged) > 0 {
		t.Errorf("forged: %s", forged[0].Line)
	}
}
