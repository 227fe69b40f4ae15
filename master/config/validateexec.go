package config

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
)

// What the kernel takes for the arguments and the environment of a program
// (execve(2), "Limits on size of arguments and environment").
const (
	// maxStringPages is the maximum size of one string, with the NUL at its end,
	// in pages (MAX_ARG_STRLEN in linux/binfmts.h).
	maxStringPages = 32
	// All strings and the pointers to them have a quarter of the stack, but
	// never less than leastTotal (ARG_MAX in linux/limits.h), and never more
	// than mostTotal (three quarters of _STK_LIM in linux/resource.h).
	stackShare = 4
	leastTotal = 128 << 10
	mostTotal  = 6 << 20

	pointerSize = 8

	// connectionVariables is more than the variables of a connection and the
	// other parts of its assignment need, in bytes. Their longest parts are the
	// name of a service, and the paths of a unix socket.
	connectionVariables = 2 << 10
)

// maxString is the maximum length of an argument, or of NAME=value, in bytes.
func maxString() int { return maxStringPages*os.Getpagesize() - 1 }

// maxTotal returns how many bytes a program may have of arguments and
// environment together, pointers included.
func maxTotal() int {
	var stack unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_STACK, &stack); err != nil {
		return leastTotal
	}
	return int(max(leastTotal, min(mostTotal, stack.Cur/stackShare)))
}

// sizeOf returns what strings need of that.
func sizeOf(list []string) (size int) {
	for _, s := range list {
		size += len(s) + 1 + pointerSize
	}
	return size
}

// validateStrings reports the strings of a list that no program can be given.
func (v validator) validateStrings(key string, list []string) (ok bool) {
	before := len(*v.errs)
	for i, s := range list {
		item := key + "[" + strconv.Itoa(i) + "]"
		switch {
		case strings.ContainsRune(s, 0):
			v.report(item, s, "must not hold a NUL byte")
		case len(s) > maxString():
			v.report(item, s, "the kernel takes at most %d bytes", maxString())
		}
	}
	return len(*v.errs) == before
}

// validateSize reports a command that the kernel does not start with an
// environment, because the two are too large together. env is what the
// configuration adds, the service's part first.
func (v validator) validateSize(commands Commands, spares bool, env ...[]string) {
	environment := workerEnvironment(env...)
	if slices.ContainsFunc(environment, func(s string) bool { return len(s) > maxString() }) {
		return // that is an error of its own
	}
	limit, fixed := maxTotal(), sizeOf(environment)+connectionVariables
	for _, c := range []Command{commands.Worker, commands.Spare} {
		args := len(c.Path) + 1 + sizeOf(c.Args)
		if args+fixed <= limit {
			continue
		}
		key := "program"
		if fixed > args {
			key = "env"
		}
		v.errs.add(v.at.find(key, "program", "handler"), "%s%s: arguments and environment have %d bytes together, and the kernel takes at most %d", v.scope, key, args+fixed, limit)
		return
	}
	if channel := sizeOf(environment) + connectionVariables; spares && channel > ipc.MaxMessage {
		v.errs.add(v.at.find("env"), "%senv: spares get the environment of a program over their control channel, which takes %d bytes, not %d", v.scope, ipc.MaxMessage, channel)
	}
}

// workerEnvironment returns what lists of variables mean for a worker, together
// with what all workers have. A later entry of a name wins.
func workerEnvironment(lists ...[]string) []string {
	values := map[string]string{ipc.EnvVersion: ipc.Version}
	for _, list := range append([][]string{ipc.InheritedEnv}, lists...) {
		for _, entry := range list {
			name, value, given := strings.Cut(entry, "=")
			if !given {
				var ok bool
				if value, ok = os.LookupEnv(name); !ok {
					continue
				}
			}
			values[name] = value
		}
	}
	var environment []string
	for name, value := range values {
		environment = append(environment, name+"="+value)
	}
	return environment
}
