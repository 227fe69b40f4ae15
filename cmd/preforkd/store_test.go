package main

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What is stored and not wanted any more does not stand in the way of what is
// wanted now, where that takes in its address.
func TestStoreIsInTheWay(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	at := freeAddress(t)
	m := systest.Options{Env: []string{s.Env()}, Args: []string{"--listen", at}}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	m.Stop(t)
	_, port, _ := net.SplitHostPort(at)
	m = systest.Options{Env: []string{s.Env()}, Args: []string{"--listen", "0.0.0.0:" + port}, Passed: s.Stored(t)}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	m.WaitIdle(t)
	systest.Until(t, "one socket is stored", func() bool { return s.Stores() == 1 }, nil)
}

// Nor is it in the way of a reload that wants the address back, however slow the
// manager is to give it up.
func TestStoreIsSlow(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	at := freeAddress(t)
	cat := "[service.cat]\nlisten = [\"127.0.0.1:0\"]\nprogram = [\"cat\"]\n"
	both := cat + "[service.echo]\nlisten = [\"" + at + "\"]\nhandler = \"echo\"\n"
	m := systest.Options{Env: []string{s.Env()}, Config: both, Listeners: 2}.Start(t)
	said := s.WaitFor(t, 0, "ready", says("READY=1"))
	resume := s.Hold()
	defer resume()
	if e := m.Reload(t, cat); e.Msg != systest.Reloaded {
		t.Fatalf("unexpected event: %s", e.Line)
	}
	m.WriteConfig(t, both)
	m.Signal(t, syscall.SIGHUP)
	s.WaitFor(t, said, "a barrier", says("BARRIER=1"))
	resume()
	m.Wait(t, 2, systest.Is(systest.Reloaded))
	m.Baseline(t)
	c := m.DialTo(t, "tcp", at)
	c.Echo(t, "hello\n")
	c.Close()
}

// After the master has said that it stops it says nothing of reloads.
func TestReloadWhileStopping(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	m := systest.Options{Env: []string{s.Env()}}.Start(t)
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	m.Signal(t, syscall.SIGTERM)
	at := s.WaitFor(t, 0, "stopping", says("STOPPING=1"))
	m.Signal(t, syscall.SIGHUP)
	if e := m.WaitFor(t, systest.Is(systest.NotReloaded)); e.Reason != "stopping" {
		t.Errorf("unexpected event: %s", e.Line)
	}
	c.Close()
	m.WaitExit(t)
	for _, message := range s.Messages()[at:] {
		if says("RELOADING=1")(message) || says("READY=1")(message) {
			t.Errorf("said %q", message)
		}
	}
}

// The one connection of --once is not followed by others that wait in a queue
// which nobody takes them from.
func TestOnceStoresNothing(t *testing.T) {
	t.Parallel()
	s := systest.NewSupervisor(t)
	m := systest.Options{Env: []string{s.Env()}, Args: []string{"--once"}}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	m.WaitExit(t)
	for _, message := range s.Messages() {
		if strings.HasPrefix(message, "FDSTORE=1") {
			t.Errorf("said %q", message)
		}
	}
}
