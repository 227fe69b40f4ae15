package config

import (
	"fmt"
	"slices"
	"strings"
)

// Summary returns a box in few words, for a status: its preset, and the keys
// that have other values than the preset's: "strict, private-network off,
// memory-max 64M".
func (b *Box) Summary() string {
	box := b.completed()
	preset := PresetBox(box.Preset)
	parts := []string{string(box.Preset)}
	for _, k := range boxKeys {
		value := boxValue(k, &box)
		if value == boxValue(k, &preset) {
			continue
		}
		switch {
		case value == "true":
			value = "on"
		case value == "false":
			value = "off"
		case k.list:
			value = "changed"
		case value == `""`:
			value = "unset"
		}
		parts = append(parts, k.name+" "+strings.Trim(value, `"`))
	}
	return strings.Join(parts, ", ")
}

// An exposure is something that a connection can do to others, and when a box
// stands in its way.
type exposure struct {
	to     string
	closed func(*Box) bool
}

// exposures lists what Service.Exposure tells of.
var exposures = []exposure{
	{"setuid programs", func(b *Box) bool { return b.NoNewPrivileges }},
	{"all system calls", func(b *Box) bool { return len(b.SystemCalls) > 0 }},
	{"all that its user may write to", func(b *Box) bool { return b.IsReadOnly() || b.RootDirectory != "" }},
	{"others' files in /tmp", (*Box).HidesTmp},
	{"/home", func(b *Box) bool { return b.ProtectHome || b.RootDirectory != "" }},
	{"the network", func(b *Box) bool { return b.PrivateNetwork }},
	{"other processes", func(b *Box) bool { return b.PrivatePIDs }},
	{"what else belongs to its user", func(b *Box) bool { return b.DynamicUser }},
	{"all memory", func(b *Box) bool { return b.Cgroup.MemoryMax > 0 || b.ServiceCgroup.MemoryMax > 0 }},
	{"all process ids", func(b *Box) bool { return b.Cgroup.TasksMax > 0 || b.ServiceCgroup.TasksMax > 0 }},
}

// HidesTmp reports whether nothing of others is in /tmp.
func (b *Box) HidesTmp() bool {
	return b.PrivateTmp || slices.Contains(b.TemporaryFileSystem, "/tmp")
}

// open returns what a box does not stand in the way of.
func (b *Box) open() []string {
	var found []string
	for _, e := range exposures {
		if !e.closed(b) {
			found = append(found, e.to)
		}
	}
	return found
}

// Exposure returns one line about what stays open to a program of the service
// that its client has taken over, and which presets would close how much of it.
func (s *Service) Exposure() string {
	preset, open := s.Box.completed().Preset, s.Box.open()
	if len(open) == 0 {
		return fmt.Sprintf("box %s leaves open nothing that a box can close", preset)
	}
	line := fmt.Sprintf("box %s leaves open %s", preset, strings.Join(open, ", "))
	also := ""
	for _, p := range []BoxPreset{BoxBasic, BoxStrict} {
		better := PresetBox(p)
		stillOpen := better.open()
		var closed []string
		open = slices.DeleteFunc(open, func(to string) bool {
			closes := !slices.Contains(stillOpen, to)
			if closes {
				closed = append(closed, to)
			}
			return closes
		})
		if len(closed) > 0 {
			line += fmt.Sprintf("; preset %s would close %s%s", p, also, strings.Join(closed, ", "))
			also = "also "
		}
	}
	return line
}
