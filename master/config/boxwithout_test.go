package config

import (
	"maps"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Every key that may be missing can be turned off, and no other key changes with
// it, whatever the box asks for besides.
func TestBoxWithout(t *testing.T) {
	samples := boxSamples(t)
	all := "preset = 'strict'\nmemory-deny-write-execute = true\n"
	for _, k := range boxKeys {
		if slices.Contains(missableKeys(), k.name) && k.kind != kindBool && k.name != "system-calls" {
			all += k.name + " = " + samples[k.name].toml + "\n"
		}
	}
	s, err := parseBox(t, all)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(missableKeys(), s.Box.asked()); diff != "" {
		t.Fatalf("the test does not ask for every key (-want +got):\n%s", diff)
	}
	limits := maps.Clone(s.Box.Limits)
	for _, key := range missableKeys() {
		less := s.Box.Without(key)
		if less.Asks(key) || !s.Box.Asks(key) {
			t.Errorf("%s is still asked for, or was not", key)
		}
		want := slices.DeleteFunc(missableKeys(), func(k string) bool { return k == key })
		if diff := cmp.Diff(want, less.asked()); diff != "" {
			t.Errorf("without %s (-want +got):\n%s", key, diff)
		}
		none := PresetBox(BoxNone)
		if again := less.Without(key); !cmp.Equal(again, less) {
			t.Errorf("without %s twice:\n%s", key, cmp.Diff(less, again))
		}
		if off := none.Without(key); !cmp.Equal(off, none) {
			t.Errorf("no box without %s:\n%s", key, cmp.Diff(none, off))
		}
	}
	if !maps.Equal(limits, s.Box.Limits) {
		t.Error("the box that keys are taken from has changed")
	}
	// One after the other, none is left.
	less := *s.Box
	for _, key := range missableKeys() {
		less = less.Without(key)
	}
	if !less.IsZero() || less.Preset != BoxStrict {
		t.Errorf("without every key: %+v", less)
	}
}

func TestBoxWithoutOtherKeys(t *testing.T) {
	strict := PresetBox(BoxStrict)
	for _, key := range append([]string{"", "no-such-key"}, alwaysThere...) {
		if same := strict.Without(key); !cmp.Equal(same, strict) || strict.Asks(key) {
			t.Errorf("without %q:\n%s", key, cmp.Diff(strict, same))
		}
	}
	// Writable paths say nothing where nothing is read-only.
	strict.ReadWritePaths = []string{"/srv"}
	if less := strict.Without("private-tmp"); len(less.ReadWritePaths) != 1 {
		t.Errorf("%+v", less)
	}
	if less := strict.Without("protect-system"); less.Asks("read-write-paths") {
		t.Errorf("%+v", less)
	}
	strict.ReadOnlyPaths = []string{"/opt"}
	if less := strict.Without("protect-system"); !less.Asks("read-write-paths") {
		t.Errorf("%+v", less)
	}
}

// The keys of cgroups are those that make the box need one.
func TestBoxCgroupKeys(t *testing.T) {
	samples := boxSamples(t)
	for _, key := range missableKeys() {
		s, _ := parseBox(t, key+" = "+samples[key].toml+"\n") // some mean nothing alone
		keys := s.Box.CgroupKeys()
		if s.Box.UsesCgroup() != (len(keys) > 0) || len(keys) > 0 && !slices.Equal(keys, []string{key}) {
			t.Errorf("%s: a cgroup %v, for %q", key, s.Box.UsesCgroup(), keys)
		}
	}
}
