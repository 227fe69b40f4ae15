package config

import "strings"

// lookups remembers what one load of a configuration has found on this machine.
// Thousands of services may have the same program and the same user, and the worker
// binary is everybody's. Nil remembers nothing. It is for one goroutine.
type lookups struct {
	programs    map[string]foundProgram
	accounts    map[accountName]account
	directories map[string]error // why there is none, or nil
}

type foundProgram struct {
	path string
	err  error
}

// An accountName is the name or number of a user or of a group.
type accountName struct {
	group bool
	name  string
}

// An account is what a name stands for.
type account struct {
	there  bool
	id     uint32
	hasGID bool // of a user
	gid    uint32
}

// newLookups returns lookups that know of nothing yet.
func newLookups() *lookups {
	return &lookups{map[string]foundProgram{}, map[accountName]account{}, map[string]error{}}
}

// program is findProgram, once for each name.
func (l *lookups) program(name string) (string, error) {
	if l == nil {
		return findProgram(name)
	}
	found, ok := l.programs[name]
	if !ok {
		found.path, found.err = findProgram(name)
		l.programs[name] = found
	}
	return found.path, found.err
}

// inPath returns the programs that were found in PATH.
func (l *lookups) inPath() map[string]string {
	found := map[string]string{}
	for name, program := range l.programs {
		if !strings.Contains(name, "/") && program.err == nil {
			found[name] = program.path
		}
	}
	return found
}

// account returns what a name stands for, which it looks up once.
func (l *lookups) account(n accountName) account {
	found, ok := l.accounts[n]
	if !ok {
		found = lookupAccount(n)
		l.accounts[n] = found
	}
	return found
}

func lookupAccount(n accountName) account {
	if n.group {
		gid, err := lookupGroup(n.name)
		return account{there: err == nil, id: gid}
	}
	uid, gid, err := lookupUser(n.name)
	found := account{there: err == nil, id: uid, hasGID: gid != nil}
	if gid != nil {
		found.gid = *gid
	}
	return found
}

// isDirectory reports whether there is a directory at a path, and looks once.
func (l *lookups) isDirectory(path string) bool {
	err, ok := l.directories[path]
	if !ok {
		err = (&finder{}).isDirectory(path)
		l.directories[path] = err
	}
	return err == nil
}
