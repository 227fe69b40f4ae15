package box

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/mounts"
	"github.com/preforkd/preforkd/master/box/observe"
	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/config"
)

// settings are what a configuration of a box comes to.
type settings struct {
	mounts mounts.Config
	// flags are the namespaces of the box, as clone(2) has them.
	// Of these, cellFlags are of each cell's own.
	flags, cellFlags uintptr
	// entry is what each process sets up, but for what differs from program to
	// program.
	entry stub.Entry
	// reusable says that a cell can be handed out again: nothing that was in it can
	// have kept a way into it, nor changed what nobody looks at.
	reusable bool
	// siblings says that what is in a cell can make children of the master there.
	siblings bool
	// processes says that nothing can leave a cell because of its pid namespace, and
	// counted that nothing can because it has a cgroup.
	processes, counted bool
	// ambient holds the capabilities that the entry needs, if the user has not all
	// of them.
	ambient []uintptr
	// bare says that neither the entry nor the program has a capability, so that the
	// bounding set can be a thread's: to empty it takes a system call for each
	// capability.
	bare bool
	// subject is what the filter tells of, or nil.
	subject *observe.Subject
}

// hasCells reports whether processes of the box have something of their own.
func (s *settings) hasCells() bool { return s.cellFlags != 0 }

// mounted reports whether the box has a file system of its own.
func (s *settings) mounted() bool { return s.flags&unix.CLONE_NEWNS != 0 }

// translate makes settings of a configuration. With a learner, the filter tells of all
// calls.
func translate(b *config.Box, learner *observe.Learner) (s settings, err error) {
	s.mounts = b.Mounts()
	s.namespaces(b)
	if s.hasCells() && slices.Contains(b.Capabilities, "sys_ptrace") {
		return s, errors.New("capabilities: sys_ptrace lets a program take over the first process of its cell, which has the master's rights: take it out, or private-pids, private-tmp, private-ipc and private-network")
	}
	s.siblings = !restrictsParents(b)
	s.processes, s.counted = b.PrivatePIDs, b.UsesCgroup()
	if err := s.translateEntry(b, learner); err != nil {
		return s, err
	}
	return s, nil
}

// namespaces finds out which namespaces the box has, and which of them are each
// cell's own.
func (s *settings) namespaces(b *config.Box) {
	add := func(asked, own bool, flags uintptr) {
		if asked {
			s.flags |= flags
			if own {
				s.cellFlags |= flags
			}
		}
	}
	add(b.PrivatePIDs, true, unix.CLONE_NEWPID|unix.CLONE_NEWNS)
	add(b.PrivateTmp, true, unix.CLONE_NEWNS)
	add(b.PrivateIPC, true, unix.CLONE_NEWIPC)
	add(b.HasMounts(), false, unix.CLONE_NEWNS)
	// Abstract unix sockets are a network namespace's (unix(7)), and so two
	// connections in one could meet.
	hasUnix := makesUnixSockets(b)
	add(b.PrivateNetwork, s.hasCells() || hasUnix, unix.CLONE_NEWNET)
	add(b.ProtectHostname, s.hasCells(), unix.CLONE_NEWUTS)
	if !s.hasCells() {
		return
	}
	// The cell's first process needs a pid namespace in any case: what it started
	// would have to be looked for otherwise.
	s.cellFlags |= unix.CLONE_NEWPID
	writable := len(b.ReadWritePaths) > 0 || slices.ContainsFunc(b.BindPaths, func(p config.BindPath) bool { return !p.ReadOnly })
	// Capabilities change what nobody looks at: who may mount can hide things, and
	// who has the network can leave rules in it. User 0 can do so in /proc/sys without
	// any. Whoever meets others can give them a descriptor of its /tmp (SCM_RIGHTS).
	s.reusable = b.PrivatePIDs && b.Capabilities != nil && len(b.Capabilities) == 0 &&
		(b.DynamicUser || b.ProtectKernel) &&
		(!hasUnix || b.PrivateNetwork && b.IsReadOnly() && !writable)
}

func (s *settings) translateEntry(b *config.Box, learner *observe.Learner) error {
	e := &s.entry
	e.NoNewPrivileges = b.NoNewPrivileges
	needed := map[uintptr]bool{}
	for _, name := range slices.Sorted(maps.Keys(b.Limits)) {
		limit := b.Limits[name]
		resource, known := config.LimitResource(name)
		if !known {
			return fmt.Errorf("limit-%s: no such limit", name)
		}
		e.Limits = append(e.Limits, stub.Limit{Resource: resource, Soft: limit.Soft, Hard: limit.Hard})
		var own unix.Rlimit
		if unix.Getrlimit(resource, &own) != nil || limit.Hard > own.Max {
			needed[unix.CAP_SYS_RESOURCE] = true
		}
	}
	if _, set := b.Limits["cpu"]; b.CPUTimeMax > 0 && !set {
		// The master looks at the sum of all processes, and only now and then.
		seconds := uint64((b.CPUTimeMax + time.Second - 1) / time.Second)
		e.Limits = append(e.Limits, stub.Limit{Resource: unix.RLIMIT_CPU, Soft: seconds, Hard: seconds + 1})
	}
	if b.Nice.Set {
		e.Nice = &b.Nice.Value
		if own, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err != nil || b.Nice.Value < 20-own {
			needed[unix.CAP_SYS_NICE] = true
		}
	}
	if len(b.CPUAffinity) > 0 {
		e.Affinity = make([]byte, slices.Max(b.CPUAffinity)/8+1)
		for _, cpu := range b.CPUAffinity {
			e.Affinity[cpu/8] |= 1 << (cpu % 8)
		}
	}
	if b.IOClass != "" {
		priority, err := ioPriority(b.IOClass)
		if err != nil {
			return err
		}
		e.IOPriority = &priority
		if priority>>ioClassShift == ioClassRealtime {
			needed[unix.CAP_SYS_ADMIN] = true
		}
	}
	if b.Capabilities != nil {
		e.SetCapabilities = true
		for _, name := range b.Capabilities {
			number, known := config.CapabilityNumber(name)
			if !known {
				return fmt.Errorf("capabilities: %s: no such capability", name)
			}
			e.Capabilities |= 1 << number
			needed[uintptr(number)] = true
		}
		if held(unix.CAP_SETPCAP) {
			needed[unix.CAP_SETPCAP] = true
			for c := range lastCapability() + 1 {
				if e.Capabilities&(1<<c) == 0 {
					e.DropBounding = append(e.DropBounding, c)
				}
			}
		} else if !b.NoNewPrivileges {
			return &MissingError{Key: "capabilities", Missing: "CAP_SETPCAP, or no-new-privileges",
				Remedy: "give the master CAP_SETPCAP (box.conf of deploy/drop-in, --cap-add SETPCAP of a container)"}
		}
	}
	if err := s.filter(b, learner); err != nil {
		return err
	}
	if len(e.Filter) > 0 && !b.NoNewPrivileges {
		needed[unix.CAP_SYS_ADMIN] = true
	}
	for _, c := range slices.Sorted(maps.Keys(needed)) {
		if !held(c) {
			key := keyOfCapability(b, c)
			return &MissingError{Key: key, Missing: missingCapability(b, key, c),
				Remedy: "give the master " + capabilityName(c) + " (box.conf of deploy/drop-in, --cap-add of a container)"}
		}
		s.ambient = append(s.ambient, c)
	}
	if e.SetCapabilities && e.Capabilities == 0 && slices.Equal(s.ambient, []uintptr{unix.CAP_SETPCAP}) {
		s.bare, s.ambient, e.DropBounding = true, nil, nil
	}
	e.ClearAmbient = len(s.ambient) > 0
	return nil
}

// The classes of ioprio_set(2).
const (
	ioClassShift      = 13
	ioClassRealtime   = 1
	ioClassBestEffort = 2
	ioClassIdle       = 3
	ioLevelDefault    = 4
)

func ioPriority(text string) (int, error) {
	name, level, leveled := strings.Cut(text, ":")
	n := ioLevelDefault
	if leveled {
		var err error
		if n, err = strconv.Atoi(level); err != nil {
			return 0, fmt.Errorf("io-class %s: %w", text, err)
		}
	}
	switch name {
	case "realtime":
		return ioClassRealtime<<ioClassShift | n, nil
	case "best-effort":
		return ioClassBestEffort<<ioClassShift | n, nil
	case "idle":
		return ioClassIdle << ioClassShift, nil
	}
	return 0, fmt.Errorf("io-class %s: no such class", text)
}

// held reports whether the master has a capability.
func held(c uintptr) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if unix.Capget(&header, &sets[0]) != nil {
		return false
	}
	return sets[c/32].Effective&(1<<(c%32)) != 0
}

// lastCapability returns the highest capability that the kernel knows.
func lastCapability() int {
	text, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	return n
}

func capabilityName(c uintptr) string {
	return "CAP_" + strings.ToUpper(config.CapabilityName(int(c)))
}
