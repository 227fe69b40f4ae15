package config

import (
	"fmt"
	"reflect"
	"slices"
)

// sharedKeys holds, by their names in the box, keys that set what a key of the
// service sets.
var sharedKeys = map[string]string{"runtime-max": "max-lifetime", "oom-score-adjust": "oom-score-adjust"}

// decodeBox decodes the table of a service's box, or sets the default if n is
// nil. The keys of the service itself must have been decoded.
func (s *Service) decodeBox(scope string, n *node, byDefault *defaultBoxes, errs *ConfigErrors) {
	s.boxAt = s.at.table()
	switch {
	case n == nil && len(s.Program) > 0:
		s.Box = &noBox
		return
	case n == nil:
		s.Box = byDefault.of(s)
		return
	}
	s.Box = new(s.defaultBox())
	if n.kind != kindTable {
		errs.add(n.at, "%sbox %s: must be a table, written [service.NAME.box]", scope, n.describe())
		return
	}
	// The preset comes first, wherever it is written.
	ordered := *n.table
	const preset = "preset"
	if i := slices.Index(ordered.order, preset); i > 0 {
		ordered.order = append([]string{preset}, slices.Delete(slices.Clone(ordered.order), i, i+1)...)
	}
	scope += "box: "
	s.boxAt = decodeTable(scope, boxKeys, s, &ordered, errs, nil)
	s.resolveBox(scope, s.at.has, s.boxAt.has, errs)
	for inBox, name := range sharedKeys {
		if at, ok := s.boxAt.lookup(inBox); ok {
			s.at.set(name, at)
		}
	}
}

// setBoxFlags sets what the flags of the box say.
func (s *Service) setBoxFlags(flags map[string][]string, errs *ConfigErrors) {
	given := func(flag string) bool { return len(flags[flag]) > 0 }
	s.Box = new(s.defaultBox())
	setFlags(boxPrefix, boxKeys, s, flags, errs)
	s.resolveBox(boxPrefix, given, func(key string) bool { return given(boxPrefix + key) }, errs)
}

// resolveBox decides what keys mean together of which one stands for another.
// has and hasInBox report which keys of the service and of its box are given.
func (s *Service) resolveBox(scope string, has, hasInBox func(key string) bool, errs *ConfigErrors) {
	for _, inBox := range []string{"runtime-max", "oom-score-adjust"} {
		if name := sharedKeys[inBox]; has(name) && hasInBox(inBox) {
			errs.add(s.boxAt.find(inBox), "%s%s: stands for %s of the service, which cannot be given as well", scope, inBox, name)
		}
	}
	s.imply(hasInBox)
	if !hasInBox("require") {
		return
	}
	if hasInBox("optional") {
		errs.add(s.boxAt.find("require"), "%srequire: says the same as optional the other way round; only one of them can be given", scope)
		return
	}
	s.Box.Optional = nil
	for _, name := range s.Box.asked() {
		if !slices.Contains(s.boxRequire, name) {
			s.Box.Optional = append(s.Box.Optional, name)
		}
	}
}

// alwaysThere are keys for which no machine can lack anything.
var alwaysThere = []string{
	"preset", "system-calls-action", "private-tmp-size", "user-pool", "require", "optional", "runtime-max", "oom-score-adjust",
}

// missableKeys returns the keys for which a machine may lack what they need.
func missableKeys() []string {
	var names []string
	for _, k := range boxKeys {
		if !slices.Contains(alwaysThere, k.name) {
			names = append(names, k.name)
		}
	}
	return names
}

// asked returns the keys whose values differ from those of no box, less those
// for which no machine can lack anything.
func (b *Box) asked() []string {
	var names []string
	none := PresetBox(BoxNone)
	for _, k := range boxKeys {
		if !slices.Contains(alwaysThere, k.name) && boxValue(k, b) != boxValue(k, &none) {
			names = append(names, k.name)
		}
	}
	return names
}

// boxValue returns the value that a key has in a box, as TOML.
func boxValue(k key[Service], b *Box) string {
	text, _ := k.format(&Service{Box: b})
	return text
}

// printsBoxKey reports whether a file must have a key in that table. What is implied
// would be required if it stood there.
func (b *Box) printsBoxKey(name string) bool {
	return !slices.Contains(b.Implied, name) && (name != "preset" || b.Preset != BoxDefault)
}

// printsBox reports whether a file must have a table for the service's box. What is left
// out of the default box of a handler is written down, whatever the reason was.
func (s *Service) printsBox() bool {
	byDefault := PresetBox(DefaultProgramBox)
	if len(s.Program) == 0 {
		byDefault = PresetBox(BoxDefault)
		byDefault.Implied = byDefault.asked()
	}
	return !reflect.DeepEqual(s.Box.completed(), byDefault)
}

// boxScope returns the start of messages about the box, as decodeBox and
// setBoxFlags have it.
func (s *Service) boxScope() string {
	if !s.at.inFile() {
		return boxPrefix
	}
	return fmt.Sprintf("%sbox: ", s.scope())
}
