package syscalls

import (
	_ "embed"
	"maps"
	"slices"
	"strings"
	"sync"
)

//go:embed sets.txt
var setsText string

// sets returns the members of each set as sets.txt has them: names, and names of other
// sets.
var sets = sync.OnceValue(func() map[string][]string { return parseSets(setsText) })

// parseSets returns the members of the sets in a text. The name of a set stands at the
// start of a line, and its members are in the indented lines below. "#" begins a
// comment. So systemd-analyze(1) prints them.
func parseSets(text string) map[string][]string {
	members := map[string][]string{}
	set := ""
	for line := range strings.Lines(text) {
		switch words := strings.Fields(line); {
		case len(words) == 0 || words[0][0] == '#':
		case line[0] == '@':
			set = words[0]
		default:
			members[set] = append(members[set], words...)
		}
	}
	return members
}

// listed returns the names of all calls that are in a set.
var listed = sync.OnceValue(func() map[string]bool {
	names := map[string]bool{}
	for set := range sets() {
		for _, name := range expand(sets(), set) {
			names[name] = true
		}
	}
	return names
})

// Sets returns the names of the sets, sorted. Each begins with "@".
func Sets() []string { return slices.Sorted(maps.Keys(sets())) }

// Set returns the names of the calls of a set ("@mount"), sorted, with those of the sets
// within it. Some of them exist on other architectures only. It reports false if there is
// no such set.
func Set(name string) ([]string, bool) {
	if _, found := sets()[name]; !found {
		return nil, false
	}
	names := expand(sets(), name)
	slices.Sort(names)
	return slices.Compact(names), true
}

// expand returns the names of the calls of an entry, which is a name or one of the sets. A
// name may be there more than once.
func expand(sets map[string][]string, entry string) []string {
	if !strings.HasPrefix(entry, "@") {
		return []string{entry}
	}
	var names []string
	for _, member := range sets[entry] {
		names = append(names, expand(sets, member)...)
	}
	return names
}
