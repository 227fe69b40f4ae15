package mounts

import (
	"cmp"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"
)

// The keys of a box that this package carries out. Errors name them.
const (
	keyProtectSystem  = "protect-system"
	keyRoot           = "root-directory"
	keyReadWrite      = "read-write-paths"
	keyReadOnly       = "read-only-paths"
	keyInaccessible   = "inaccessible-paths"
	keyBind           = "bind-paths"
	keyTemporary      = "temporary-file-system"
	keyPrivateTmp     = "private-tmp"
	keyPrivateDevices = "private-devices"
	keyProtectProc    = "protect-proc"
	keyProtectHome    = "protect-home"
	keyProtectKernel  = "protect-kernel"
	keyPrivatePIDs    = "private-pids"
)

// A Config says what the processes of a box see. The zero Config is a copy of
// what the machine has.
//
// Paths are absolute and without "." and "..". A "-" before a path, or before
// the source of a bind, means that it may be missing (systemd.exec(5)). A bind
// includes what is mounted below its source.
type Config struct {
	// ReadOnly makes everything read-only but /proc, ReadWritePaths, the binds that
	// are not read-only, and what each cell has for itself. Device nodes and sockets
	// can be written to as before.
	ReadOnly bool
	// Root is the directory of the machine that is the root of the box. "" is the
	// machine's root.
	Root string

	// Of ReadWritePaths and ReadOnlyPaths the longest one that leads to a file
	// decides. What the machine has mounted read-only stays so. A read-only "/" is
	// everything, /proc too, but what each cell has for itself.
	ReadWritePaths []string
	ReadOnlyPaths  []string
	// InaccessiblePaths are replaced by something empty with mode 0.
	InaccessiblePaths []string
	Binds             []Bind
	// TemporaryFileSystems are empty directories, in which binds may create their
	// targets. They are read-only, because all cells share them.
	TemporaryFileSystems []string

	// PrivateTmp gives each cell an empty /tmp, /var/tmp and /dev/shm. The last two
	// are not needed where they do not exist.
	PrivateTmp bool
	// TmpSize bounds each private temporary file system, in bytes. 0 is
	// DefaultTmpSize. There is one inode for each 4 KiB.
	TmpSize uint64
	// PrivateDevices gives the box a /dev with null, zero, full, random, urandom,
	// tty, links to the standard descriptors, and a /dev/shm for each cell. It has
	// no /dev/pts: a program that opens terminals needs the machine's /dev.
	// Device nodes outside /dev do not work.
	PrivateDevices bool
	// ProtectProc hides the processes of other users in /proc (hidepid=2,
	// proc(5)).
	ProtectProc bool
	// ProtectHome hides /home, /root and /run/user.
	ProtectHome bool
	// ProtectKernel makes /proc and /sys read-only, hides /proc/kcore,
	// /proc/kallsyms and /proc/kmsg, and leaves out all file systems in /sys, such
	// as /sys/fs/cgroup.
	ProtectKernel bool
	// PrivatePIDs says that each cell has a pid namespace of its own, and so needs
	// a /proc of its own.
	PrivatePIDs bool
	// PrivateIPC says that each cell has an IPC namespace of its own. With
	// PrivateDevices its POSIX message queues are to be seen in QueuesDirectory.
	PrivateIPC bool
}

// QueuesDirectory is where a cell has its POSIX message queues (mq_overview(7)).
const QueuesDirectory = "/dev/mqueue"

// HasQueues reports whether cells have a QueuesDirectory.
func (c Config) HasQueues() bool {
	if !c.PrivateDevices || !c.PrivateIPC {
		return false
	}
	known, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(known), "\tmqueue\n")
}

// DefaultTmpSize is the size of a private temporary file system, in bytes, where
// the Config gives none.
const DefaultTmpSize = 64 << 20

// A Bind makes a file or directory of the machine appear in the box.
type Bind struct {
	Source   string // a path of the machine
	Target   string // a path of the box; it must exist, or be in a temporary file system
	ReadOnly bool
}

// A place is a path that a key names.
type place struct {
	key      string
	path     string
	optional bool // it may be missing
	source   bool // it is the source of a bind, a path of the machine
}

func newPlace(key, path string) place {
	rest, optional := strings.CutPrefix(path, "-")
	return place{key: key, path: rest, optional: optional}
}

// sourcePlace returns the source of a bind.
func (b Bind) sourcePlace() place {
	p := newPlace(keyBind, b.Source)
	p.source = true
	return p
}

func newPlaces(key string, paths []string) []place {
	places := make([]place, len(paths))
	for i, p := range paths {
		places[i] = newPlace(key, p)
	}
	return byDepth(places)
}

// byDepth sorts places: the outer path comes before the inner one.
func byDepth(places []place) []place {
	slices.SortStableFunc(places, func(a, b place) int { return compareDepth(a.path, b.path) })
	return places
}

func compareDepth(a, b string) int {
	return cmp.Or(cmp.Compare(strings.Count(a, "/"), strings.Count(b, "/")), strings.Compare(a, b))
}

// targets returns the places of the box that the lists name. Targets of binds are
// among them.
func (c Config) targets() []place {
	places := slices.Concat(
		newPlaces(keyTemporary, c.TemporaryFileSystems),
		newPlaces(keyInaccessible, c.InaccessiblePaths),
		newPlaces(keyReadOnly, c.ReadOnlyPaths),
		newPlaces(keyReadWrite, c.ReadWritePaths),
	)
	for _, b := range c.Binds {
		places = append(places, place{key: keyBind, path: b.Target})
	}
	return places
}

// readOnlyProc reports whether nothing in the /proc of a cell may be written to.
func (c Config) readOnlyProc() bool {
	return c.ProtectKernel || slices.ContainsFunc(c.ReadOnlyPaths, func(p string) bool { return strings.TrimPrefix(p, "-") == "/" })
}

// key returns a key of the Config that is set: what a failure is told of that
// concerns all of them.
func (c Config) key() string {
	for _, k := range []struct {
		set bool
		key string
	}{
		{c.ReadOnly, keyProtectSystem},
		{c.Root != "", keyRoot},
		{c.PrivateTmp, keyPrivateTmp},
		{c.PrivateDevices, keyPrivateDevices},
		{c.ProtectHome, keyProtectHome},
		{c.ProtectKernel, keyProtectKernel},
		{c.ProtectProc, keyProtectProc},
		{c.PrivatePIDs, keyPrivatePIDs},
	} {
		if k.set {
			return k.key
		}
	}
	if targets := c.targets(); len(targets) > 0 {
		return targets[0].key
	}
	return "mounts"
}

// validate returns what is wrong with the Config on any machine.
func (c Config) validate() error {
	if c.Root != "" {
		if err := validatePath(keyRoot, c.Root); err != nil {
			return err
		}
	}
	for _, b := range c.Binds {
		if err := validatePath(keyBind, strings.TrimPrefix(b.Source, "-")); err != nil {
			return err
		}
	}
	named := map[string]place{}
	for _, p := range c.targets() {
		if err := validatePath(p.key, p.path); err != nil {
			return err
		}
		if p.path == "/" && p.key != keyReadOnly {
			return p.errorf("the root itself cannot be named here")
		}
		other, ok := named[p.path]
		if ok && (p.key != other.key || p.key == keyBind) {
			return p.errorf("is named by %s, too", other.key)
		}
		named[p.path] = p
	}
	return nil
}

func validatePath(key, p string) error {
	if !path.IsAbs(p) {
		return fmt.Errorf("%s: %q: is not an absolute path", key, p)
	}
	if slices.Contains(strings.Split(p, "/"), "..") {
		return fmt.Errorf("%s: %s: must not contain \"..\"", key, p)
	}
	if path.Clean(p) != p {
		return fmt.Errorf("%s: %s: is to be written as %s", key, p, path.Clean(p))
	}
	if strings.ContainsAny(p, "\x00\n") {
		return fmt.Errorf("%s: %q: contains a character that no path here may have", key, p)
	}
	return nil
}

// within reports whether a clean path is dir or is below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
