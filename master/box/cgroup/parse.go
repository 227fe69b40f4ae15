package cgroup

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A membership is what /proc/PID/cgroup says of a process (cgroups(7)).
type membership struct {
	path string   // in the hierarchy of version 2, "" if there is none
	v1   []string // controllers that are in hierarchies of version 1
}

// parseMembership reads lines of the form hierarchy:controllers:path. Version 2 is
// "0::path". The path may have colons of its own. It is seen from the cgroup namespace
// of the reader, and begins with "/.." where it lies outside (cgroup_namespaces(7)).
func parseMembership(text string) (m membership, err error) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		fields := strings.SplitN(line, ":", 3)
		switch {
		case len(fields) != 3 || !strings.HasPrefix(fields[2], "/"):
			return membership{}, fmt.Errorf("%q is not hierarchy:controllers:path", line)
		case fields[0] == "0" && fields[1] == "":
			m.path = fields[2]
		case !strings.HasPrefix(fields[1], "name="):
			m.v1 = append(m.v1, strings.Split(fields[1], ",")...)
		}
	}
	return m, nil
}

// A mount is one of the file systems of cgroups that are mounted.
type mount struct {
	root  string // which cgroup of the hierarchy is mounted, seen from the cgroup namespace
	point string // where
}

// parseMounts returns the mounts of cgroup version 2 in /proc/PID/mountinfo
// (proc_pid_mountinfo(5)).
func parseMounts(text string) (mounts []mount) {
	for line := range strings.Lines(text) {
		// 36 35 98:0 /root /point rw,noatime master:1 ... - type source rw
		before, after, found := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 6 || len(kind) == 0 || kind[0] != "cgroup2" {
			continue
		}
		mounts = append(mounts, mount{root: unescape(fields[3]), point: unescape(fields[4])})
	}
	return mounts
}

// unescape replaces what mountinfo writes for space, tab, newline and backslash: \ and
// three octal digits.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// directoryOf returns where the cgroup of a path is seen in a mount. It reports false if
// the mount does not hold it.
func (m mount) directoryOf(path string) (string, bool) {
	if slices.Contains(strings.Split(path, "/"), "..") {
		return "", false
	}
	below, found := strings.CutPrefix(path, strings.TrimSuffix(m.root, "/"))
	if !found || below != "" && !strings.HasPrefix(below, "/") {
		return "", false
	}
	return strings.TrimSuffix(m.point+below, "/"), true
}

// parseKeyed reads lines of a name and a number.
func parseKeyed(text string) (map[string]uint64, error) {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is not a name and a number", strings.TrimSuffix(line, "\n"))
		}
		values[name] = n
	}
	return values, nil
}
