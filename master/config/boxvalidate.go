package config

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/master/box/userpool"
)

// A boxValidator reports errors in the table of a box.
type boxValidator struct {
	scope string
	at    positions
	errs  *ConfigErrors
}

// report reports that the value of a key is wrong. A value that another key has
// brought has the place of that one.
func (v boxValidator) report(key string, value any, format string, args ...any) {
	name, _, _ := strings.Cut(key, "[")
	if s, ok := value.(string); ok {
		value = quoted(s)
	}
	v.errs.add(v.at.find(key, name, cmp.Or(broughtBy[name], name), "preset"), "%s%s %v: %s", v.scope, name, value, fmt.Sprintf(format, args...))
}

// broughtBy holds keys whose defaults count because of another key.
var broughtBy = map[string]string{"user-pool": "dynamic-user", "private-tmp-size": "private-tmp"}

// validateBox checks what keys of the box mean together, with other keys of the
// service and on this machine. It does not find out whether the machine can do
// what the box asks for. It returns what finds files in the box, or nil if the box's
// paths are wrong; the caller must close it.
func (s *Service) validateBox(errs *ConfigErrors) *finder {
	v := boxValidator{s.boxScope(), s.boxAt, errs}
	b := s.Box
	s.validateBoxUser(v)
	s.validateBoxService(v)
	b.validateLists(v, s.boxRequire)
	f := s.validateFiles(v)
	b.validateCgroups(v)
	if b.PrivateTmpSize != DefaultPrivateTmpSize && b.PrivateTmpSize != 0 && !b.PrivateTmp && len(b.TemporaryFileSystem) == 0 {
		v.report("private-tmp-size", b.PrivateTmpSize.String(), "there is no private-tmp")
	}
	if a := b.SystemCallsAction; a != DefaultBoxAction && a != "" && !b.filters() {
		v.report("system-calls-action", string(a), "no system call is denied")
	}
	if l, set := b.Limits["nofile"]; set {
		if most, ok := readNumber("/proc/sys/fs/nr_open"); ok && l.Hard > most {
			v.report(limitPrefix+"nofile", formatLimit("nofile", l), "the kernel grants at most %d (fs.nr_open)", most)
		}
	}
	if len(b.CPUAffinity) > 0 {
		if text, err := os.ReadFile("/sys/devices/system/cpu/possible"); err == nil {
			text := strings.TrimSpace(string(text))
			possible, err := parseProcessors(text)
			if err == nil && !slices.ContainsFunc(b.CPUAffinity, func(n int) bool { return slices.Contains(possible, n) }) {
				v.report("cpu-affinity", formatProcessors(b.CPUAffinity), "this machine has the processors %s", text)
			}
		}
	}
	return f
}

// filters reports whether the box denies any system call by its name or its
// arguments.
func (b *Box) filters() bool {
	return len(b.SystemCalls) > 0 || b.RestrictNamespaces || b.RestrictRealtime || b.RestrictSUIDSGID || b.LockPersonality ||
		b.MemoryDenyWriteExecute || b.RestrictAddressFamilies != nil
}

// readNumber reads a file that holds one number.
func readNumber(path string) (uint64, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}

// validateBoxUser checks the user of a connection's own.
func (s *Service) validateBoxUser(v boxValidator) {
	b := s.Box
	if !b.DynamicUser {
		if b.UserPool != DefaultUserPool && b.UserPool != (UserRange{}) {
			v.report("user-pool", b.UserPool.String(), "there is no dynamic-user")
		}
		return
	}
	switch {
	case s.User != "":
		v.report("dynamic-user", true, "the service has user %s; dynamic-user = false keeps it", quoted(s.User))
	case s.Group != "":
		v.report("dynamic-user", true, "the service has group %s; dynamic-user = false keeps it, and supplementary-groups may be given with both", quoted(s.Group))
	}
	if n := b.UserPool.Size(); n < s.MaxConnections {
		v.report("user-pool", b.UserPool.String(), "has %d users, and each of %d connections needs one (max-connections)", n, s.MaxConnections)
	}
	if err := userpool.Check(b.UserPool.First, b.UserPool.Last); err != nil {
		v.report("user-pool", b.UserPool.String(), "%v", err)
	}
}

// validateBoxService checks keys of the service that a box is against.
func (s *Service) validateBoxService(v boxValidator) {
	b := s.Box
	if s.Leftovers == LeftoversKeep {
		for _, k := range []struct {
			name string
			set  bool
		}{{"private-pids", b.PrivatePIDs}, {"private-tmp", b.PrivateTmp}, {"dynamic-user", b.DynamicUser}} {
			if k.set {
				v.report(k.name, true, `the service has leftovers = "keep", and nothing is left of this when its connection ends`)
				break
			}
		}
	}
	if s.ConnectionsPerWorker > 1 && b.PrivateTmp {
		v.report("private-tmp", true, "the service has connections-per-worker %d, whose connections would share it", s.ConnectionsPerWorker)
	}
}

// validateLists reports what is in a list twice, and names of keys that do not
// exist.
func (b *Box) validateLists(v boxValidator, require []string) {
	for key, list := range map[string][]string{
		"capabilities": b.Capabilities, "system-calls": b.SystemCalls, "restrict-address-families": b.RestrictAddressFamilies, "optional": b.Optional,
	} {
		for i, item := range list {
			if slices.Contains(list[:i], item) {
				v.report(key+"["+strconv.Itoa(i)+"]", item, "is listed twice")
			}
		}
	}
	for i, item := range b.SystemCalls {
		if _, named := presetCalls(item); named && i > 0 && !slices.Contains(b.SystemCalls[:i], item) {
			v.report("system-calls["+strconv.Itoa(i)+"]", item, "is the list of a preset, which can only begin one")
		}
	}
	names := func(key string, list []string) {
		for i, name := range list {
			if missable := missableKeys(); !slices.Contains(missable, name) {
				v.report(key+"["+strconv.Itoa(i)+"]", name, "is no key of the box that may be missing; %s", suggestion(name, missable))
			}
		}
	}
	names("require", require)
	if len(require) == 0 {
		names("optional", b.Optional)
	}
}

// validateCgroups reports limits that another limit makes meaningless.
func (b *Box) validateCgroups(v boxValidator) {
	own, all := &b.Cgroup, &b.ServiceCgroup
	swap := func(size *ByteSize) int { // as below, where 0 is no limit
		if size == nil {
			return 0
		}
		return int(*size) + 1
	}
	below := func(key string, value int, text string, than string, other int, otherText string) {
		if value > 0 && other > 0 && value < other {
			v.report(key, text, "is less than %s, %s", than, otherText)
		}
	}
	size := func(key string, value ByteSize, than string, other ByteSize) {
		below(key, int(value), value.String(), than, int(other), other.String())
	}
	size("memory-max", own.MemoryMax, "memory-high", own.MemoryHigh)
	size("service-memory-max", all.MemoryMax, "service-memory-high", all.MemoryHigh)
	size("service-memory-max", all.MemoryMax, "memory-max", own.MemoryMax)
	size("service-memory-high", all.MemoryHigh, "memory-high", own.MemoryHigh)
	below("service-memory-swap-max", swap(all.MemorySwapMax), formatSwap(all.MemorySwapMax), "memory-swap-max", swap(own.MemorySwapMax), formatSwap(own.MemorySwapMax))
	below("service-tasks-max", all.TasksMax, formatTasks(all.TasksMax), "tasks-max", own.TasksMax, formatTasks(own.TasksMax))
	below("service-cpu-quota", all.CPUQuota, formatQuota(all.CPUQuota), "cpu-quota", own.CPUQuota, formatQuota(own.CPUQuota))
}
