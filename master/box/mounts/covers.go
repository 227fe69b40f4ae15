package mounts

import (
	"slices"

	"golang.org/x/sys/unix"
)

// A cover is a directory of the box that a key replaces by another one, so that
// nothing that lies below it can be seen.
type cover struct {
	key  string
	path string // without links
	// hides is set if nothing can be seen there. Otherwise each cell has a
	// directory of its own.
	hides bool
}

// coversOf returns the covers that are made at some places. What is missing is not
// covered.
func coversOf(r resolver, hides bool, places []place) (all []cover, err error) {
	for _, p := range places {
		p.optional = true
		fd, path, err := r.find(p)
		if err != nil {
			return nil, err
		}
		if fd >= 0 {
			unix.Close(fd)
			all = append(all, cover{key: p.key, path: path, hides: hides})
		}
	}
	return all, nil
}

// hidden returns what is hidden of the box.
func hidden(c Config) []place {
	places := newPlaces(keyInaccessible, c.InaccessiblePaths)
	if c.ProtectHome {
		places = append(places, newPlaces(keyProtectHome, []string{"-/home", "-/root", "-/run/user"})...)
	}
	return places
}

// checkCovered returns an error if a place, whose path without links is given, has
// no effect, because it is below a cover. What is hidden may lie in what is hidden,
// and so may what is read-only.
func checkCovered(all []cover, p place, path string) error {
	for _, c := range all {
		if !within(path, c.path) {
			continue
		}
		if c.hides && (p.key == keyInaccessible || p.key == keyProtectHome || p.key == keyReadOnly) {
			continue
		}
		return p.errorf("%w", CoveredError{c})
	}
	return nil
}

// isHidden reports whether a path is within what is hidden.
func isHidden(all []cover, path string) bool {
	return slices.ContainsFunc(all, func(c cover) bool { return c.hides && within(path, c.path) })
}
