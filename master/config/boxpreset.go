package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// DefaultProgramBox is what a service starts from that names no preset and has a program.
// Programs must go on as they always did: sshd -i starts shells.
const DefaultProgramBox = BoxNone

// Defaults of keys that have a value in every preset.
const (
	DefaultPrivateTmpSize = ByteSize(64 << 20)
	DefaultBoxAction      = SystemCallsErrno
)

// DefaultUserPool is within the range that systemd keeps for its dynamic users
// (61184 to 65519, systemd's doc/UIDS-GIDS.md).
var DefaultUserPool = UserRange{61184, 61439}

// presets holds the values of the presets.
var presets = map[BoxPreset]Box{
	BoxNone: {},
	BoxBasic: {
		NoNewPrivileges: true,
		Capabilities:    []string{},
		SystemCalls: []string{
			"~@clock", "~@debug", "~@module", "~@mount", "~@obsolete", "~@raw-io", "~@reboot", "~@swap", "~@keyring",
			"~bpf", "~userfaultfd", "~io_uring_setup",
		},
		RestrictNamespaces: true, RestrictRealtime: true, RestrictSUIDSGID: true, LockPersonality: true,
		Limits: map[string]Limit{"core": {}},
	},
	BoxStrict: {
		NoNewPrivileges: true,
		Capabilities:    []string{},
		SystemCalls: []string{
			"@system-service", "~@privileged", "~@resources", "~@keyring",
			"~bpf", "~userfaultfd", "~io_uring_setup", "~io_uring_enter", "~io_uring_register",
		},
		RestrictNamespaces: true, RestrictRealtime: true, RestrictSUIDSGID: true, LockPersonality: true,
		RestrictAddressFamilies: []string{"unix"},
		PrivateNetwork:          true, PrivateIPC: true, ProtectHostname: true, PrivatePIDs: true,
		ProtectSystem: ProtectSystemStrict,
		PrivateTmp:    true, PrivateDevices: true, ProtectProc: true, ProtectHome: true, ProtectKernel: true,
		DynamicUser: true,
		Limits:      map[string]Limit{"core": {}, "nofile": {256, 256}},
	},
}

// PresetBox returns the box of a preset. The caller may change it. A preset that
// does not exist is none.
func PresetBox(p BoxPreset) Box {
	b, known := presets[p]
	switch {
	case p == BoxDefault:
		b = handlerBox()
	case !known:
		p = BoxNone
	}
	b.Preset = p
	b.Capabilities = slices.Clone(b.Capabilities)
	b.SystemCalls = slices.Clone(b.SystemCalls)
	b.RestrictAddressFamilies = slices.Clone(b.RestrictAddressFamilies)
	b.Limits = maps.Clone(b.Limits)
	return b.completed()
}

// completed returns a box in which what is not set has its default, so that
// boxes that mean the same are equal.
func (b Box) completed() Box {
	setDefault(&b.Preset, BoxNone)
	setDefault(&b.SystemCallsAction, DefaultBoxAction)
	setDefault(&b.ProtectSystem, ProtectSystemNo)
	setDefault(&b.PrivateTmpSize, DefaultPrivateTmpSize)
	setDefault(&b.UserPool, DefaultUserPool)
	if len(b.Limits) == 0 {
		b.Limits = nil
	}
	// In these an empty list means what none does. In Capabilities and
	// RestrictAddressFamilies it does not.
	for _, list := range []*[]string{
		&b.SystemCalls, &b.ReadWritePaths, &b.ReadOnlyPaths, &b.InaccessiblePaths, &b.TemporaryFileSystem, &b.Optional, &b.Implied,
	} {
		if len(*list) == 0 {
			*list = nil
		}
	}
	if len(b.BindPaths) == 0 {
		b.BindPaths = nil
	}
	if len(b.CPUAffinity) == 0 {
		b.CPUAffinity = nil
	}
	return b
}

func setDefault[V comparable](value *V, otherwise V) {
	var zero V
	if *value == zero {
		*value = otherwise
	}
}

// IsZero reports whether the box asks for nothing, so that a process needs no
// preparation for it.
func (b *Box) IsZero() bool { return reflect.DeepEqual(b.Effective(), PresetBox(BoxNone)) }

// Effective returns a box to the same effect: two are equal if no process could tell them
// apart, however they were configured. It has no preset and no optional keys, lists whose
// order means nothing are sorted, and what means nothing here has its default.
func (b *Box) Effective() Box {
	e := b.completed()
	e.Preset, e.Optional, e.Implied = BoxNone, nil, nil
	e.SystemCalls = b.SystemCallList()
	if !e.filters() {
		e.SystemCallsAction = DefaultBoxAction
	}
	if !e.DynamicUser {
		e.UserPool = DefaultUserPool
	}
	if !e.PrivateTmp && !e.PrivateDevices { // the latter has a /dev/shm
		e.PrivateTmpSize = DefaultPrivateTmpSize
	}
	for _, list := range []*[]string{
		&e.Capabilities, &e.RestrictAddressFamilies, &e.ReadWritePaths, &e.ReadOnlyPaths, &e.InaccessiblePaths, &e.TemporaryFileSystem,
	} {
		*list = slices.Clone(*list)
		slices.Sort(*list)
	}
	e.BindPaths = slices.Clone(e.BindPaths)
	slices.SortFunc(e.BindPaths, func(x, y BindPath) int { return strings.Compare(x.Target, y.Target) })
	return e
}

// SystemCallList returns SystemCalls with the list of a preset in place of its name.
func (b *Box) SystemCallList() []string {
	if len(b.SystemCalls) == 0 {
		return nil
	}
	if list, named := presetCalls(b.SystemCalls[0]); named {
		return slices.Concat(list, b.SystemCalls[1:])
	}
	return b.SystemCalls
}

// presetCalls returns the system calls of the preset that an entry of a list names, such
// as "@strict". systemd has no sets of these names.
func presetCalls(entry string) ([]string, bool) {
	name, set := strings.CutPrefix(entry, "@")
	list := presets[BoxPreset(name)].SystemCalls
	return list, set && list != nil
}

// UsesCgroup reports whether the box needs a cgroup: for each connection or for
// all of the service.
func (b *Box) UsesCgroup() bool {
	return b.Cgroup != CgroupLimits{} || b.ServiceCgroup != CgroupLimits{}
}

// CgroupKeys returns the keys of the box that need a cgroup, as they are configured.
func (b *Box) CgroupKeys() (keys []string) {
	without := *b
	without.Cgroup, without.ServiceCgroup = CgroupLimits{}, CgroupLimits{}
	for _, k := range boxKeys {
		if boxValue(k, b) != boxValue(k, &without) {
			keys = append(keys, k.name)
		}
	}
	return keys
}
