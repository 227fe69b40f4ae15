package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What one connection has made, another one finds without a box and not in one: not
// while the first lives, and not after it either, in whichever cell it is then.
func TestBoxHidesNeighbours(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, presets())
	key := 0x7e570000 + os.Getpid()&0xffff
	for _, c := range []struct{ subject, make, find, remove, errnos string }{
		{"tmp", "write /tmp/preforkd-neighbour-%x secret", "read /tmp/preforkd-neighbour-%x", "remove /tmp/preforkd-neighbour-%x", "ENOENT"},
		{"var tmp", "write /var/tmp/preforkd-neighbour-%x secret", "read /var/tmp/preforkd-neighbour-%x", "remove /var/tmp/preforkd-neighbour-%x", "ENOENT"},
		{"shared memory of files", "write /dev/shm/preforkd-neighbour-%x secret", "read /dev/shm/preforkd-neighbour-%x", "remove /dev/shm/preforkd-neighbour-%x", "ENOENT"},
		{"shared memory", "shm-make %d", "shm-find %d", "shm-remove %d", "ENOENT"},
		{"semaphores", "sem-make %d", "sem-find %d", "sem-remove %d", "ENOENT"},
		{"messages", "msg-make %d", "msg-find %d", "msg-remove %d", "ENOENT"},
		{"message queue", "mq-make preforkd-%x", "mq-find preforkd-%x", "mq-remove preforkd-%x", "ENOENT"},
		{"abstract socket", "listen-unix @preforkd-neighbour-%x", "connect-unix @preforkd-neighbour-%x", "", "ECONNREFUSED EPERM"},
	} {
		t.Run(c.subject, func(t *testing.T) {
			fill := func(format string) string {
				return strings.ReplaceAll(strings.ReplaceAll(format, "%x", fmt.Sprint(key)), "%d", fmt.Sprint(key))
			}
			for service := range presets() {
				maker, finder := m.dial(t, service), m.dial(t, service)
				maker.does(t, fill(c.make))
				if service == "strict" {
					finder.fails(t, fill(c.find), c.errnos)
				} else {
					finder.does(t, fill(c.find))
				}
				if c.remove != "" && service != "strict" {
					maker.does(t, fill(c.remove))
				}
				maker.Close()
				finder.Close()
				maker.End(t)
				finder.End(t)
				if service == "strict" {
					later := m.dial(t, service)
					later.fails(t, fill(c.find), c.errnos)
					later.Close()
				}
			}
		})
	}
}

// A process sees nobody but itself and the first of its cell, by whatever number it
// asks for them, and can signal nobody else.
func TestBoxHidesProcesses(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, presets())
	neighbour := m.dial(t, "strict")
	neighbour.does(t, "descriptors")
	others := []string{fmt.Sprint(neighbour.Worker(t)), fmt.Sprint(m.PID), fmt.Sprint(os.Getpid())}
	for service, want := range map[string]string{"none": "", "basic": "", "strict": "seen: 1; signalled: ; in /proc: "} {
		seen := m.dial(t, service).does(t, "scan")
		if want != "" {
			if seen != want {
				t.Errorf("%s: %s; want %s", service, seen, want)
			}
			continue
		}
		for _, pid := range others {
			if !strings.Contains(strings.ReplaceAll(seen, ";", ","), " "+pid+",") && !strings.Contains(seen, ","+pid+",") {
				t.Errorf("%s does not see process %s: %s", service, pid, seen)
			}
		}
	}
	// Everybody who is seen is signalled, and the service goes on.
	m.dial(t, "strict").try(t, "kill -1 9")
	m.dial(t, "strict").fails(t, "kill 1 9", "EPERM")
	neighbour.does(t, "descriptors")
	m.dial(t, "strict").does(t, "descriptors")
}

// A program has the descriptors of its handoff and no others, and nothing is left in
// it of what has made the box.
func TestBoxedProgramHasNothingElse(t *testing.T) {
	t.Parallel()
	services := map[string]string{}
	for preset, keys := range presets() {
		services[preset+"-stdio"] = keys
		services[preset+"-worker"] = keys + "\nhandoff = \"worker\""
		services[preset+"-spare"] = keys + "\nhandoff = \"worker\"\nspares = 1"
		services[preset+"-waiting"] = keys + "\nspares = 1"
	}
	m := startBoxed(t, services)
	m.Spares = 2 * len(presets())
	for service := range services {
		t.Run(service, func(t *testing.T) {
			want := "0=socket 1=socket 2=socket"
			if strings.HasSuffix(service, "worker") || strings.HasSuffix(service, "spare") {
				want = "0=/dev/null 1=socket 2=socket 3=socket 4=socket"
			}
			for range 3 {
				p := m.dial(t, service)
				got := p.does(t, "descriptors")
				// A spare has no connection yet.
				if strings.HasSuffix(service, "spare") {
					got = strings.Replace(got, "3=/dev/null", "3=socket", 1)
				}
				if got != want {
					t.Errorf("descriptors %s; want %s", got, want)
				}
				if got := p.does(t, "image"); got != m.dir+"/boxprobe" {
					t.Errorf("the program has %s", got)
				}
				if executable := systest.Executable(p.Worker(t)); executable != m.dir+"/boxprobe" {
					t.Errorf("the program is %s", executable)
				}
			}
		})
	}
}

// Under a service manager the master starts a worker before it is ready. The process that
// has tried the box before does not keep the only user of its pool from that.
func TestBoxOfOneUserUnderManager(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	s := systest.NewSupervisor(t)
	one := single(catting, "max-connections = 1", "[service.one.box]", `preset = "strict"`, `user-pool = "61330-61330"`)
	m := systest.Options{Env: []string{s.Env()}, Config: one}.Start(t)
	s.WaitFor(t, 0, "ready", says("READY=1"))
	m.Boxed = true
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()
	c.End(t)
	m.Baseline(t) // with what the box keeps
}
