package config

import (
	"maps"
	"reflect"
	"slices"
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
func (b *Box) IsZero() bool {
	without := *b
	// These mean nothing on their own.
	without.Preset, without.SystemCallsAction, without.PrivateTmpSize, without.UserPool = "", "", 0, UserRange{}
	without.Optional, without.Implied = nil, nil
	return reflect.DeepEqual(without.completed(), PresetBox(BoxNone))
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
