package config

import (
	"os"
	"slices"
	"strconv"
	"strings"
)

// validateProcess looks at what workers are born with: whether there are such
// accounts, whether this process may use them, and whether there is such a
// directory.
func (s *Service) validateProcess(v validator) {
	self := currentIdentity()
	for i, name := range append([]string{s.User, s.Group}, s.SupplementaryGroups...) {
		key := append([]string{"user", "group"}, slices.Repeat([]string{"supplementary-groups"}, len(s.SupplementaryGroups))...)[i]
		if name == "" && i < 2 {
			continue
		}
		var err error
		if i == 0 {
			_, _, err = lookupUser(name)
		} else {
			_, err = lookupGroup(name)
		}
		if err != nil {
			if i >= 2 {
				key += "[" + strconv.Itoa(i-2) + "]"
			}
			v.bad(key, name, "%v", err)
			return
		}
	}
	id, err := s.Identity(self)
	switch {
	case err != nil:
		v.bad("user", s.User, "%v", err)
	case id != nil && id.UID != self.UID && !canChange(capSetUID):
		v.bad("user", s.User, "preforkd itself has no right to change to another user")
	case id != nil && !canChange(capSetGID):
		v.mistakes.add(v.at.of("group", "supplementary-groups", "user"), "%sgroup %s: preforkd itself has no right to change groups", v.scope, quoted(s.Group))
	}
	if s.Directory != "" {
		info, err := os.Stat(s.Directory)
		switch {
		case !strings.HasPrefix(s.Directory, "/"):
			v.bad("directory", s.Directory, "must be an absolute path")
		case err != nil:
			v.bad("directory", s.Directory, "%v", reason(err))
		case !info.IsDir():
			v.bad("directory", s.Directory, "is not a directory")
		}
	}
	v.variables(s.Env)
}

// variables finds variables that are set twice.
func (v validator) variables(env []string) {
	seen := map[string]bool{}
	for i, variable := range env {
		name, _, _ := strings.Cut(variable, "=")
		if seen[name] {
			v.bad("env["+strconv.Itoa(i)+"]", variable, "%s is set twice", name)
		}
		seen[name] = true
	}
}
