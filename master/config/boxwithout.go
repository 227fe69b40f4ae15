package config

import (
	"maps"
	"slices"
)

// Without returns the box with one key turned off that may be missing on a
// machine: with the value that the key has where there is no box. Any other key
// changes nothing.
//
// read-write-paths goes with the last key that makes anything read-only: it means
// nothing then. The result and the receiver share lists, which neither may change.
func (b *Box) Without(key string) Box {
	s, none := Service{Box: new(b.completed())}, Service{Box: new(PresetBox(BoxNone))}
	i := slices.IndexFunc(boxKeys, func(k boxKey) bool { return k.name == key })
	if i < 0 || slices.Contains(alwaysThere, key) {
		return *s.Box
	}
	s.Box.Limits = maps.Clone(s.Box.Limits) // the key changes it in place
	// What a key prints it also reads.
	text, _ := boxKeys[i].format(&none)
	root, err := parseDocument("", []byte(key+" = "+text))
	if err != nil {
		panic("config: " + key + " prints what it cannot read: " + err.Error())
	}
	boxKeys[i].decode(&reader{errs: &ConfigErrors{}}, &s, root.entries[key].value)
	if s.Box.ProtectSystem != ProtectSystemStrict && len(s.Box.ReadOnlyPaths) == 0 {
		s.Box.ReadWritePaths = nil
	}
	return s.Box.completed()
}

// boxKey is a key of the box.
type boxKey = key[Service]

// Asks reports whether the box asks for something by a key that may be missing on
// a machine.
func (b *Box) Asks(key string) bool { return slices.Contains(b.asked(), key) }
