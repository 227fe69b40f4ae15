package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A MissingError says in one line why cgroups cannot be had, and what would give them.
type MissingError struct {
	Missing string
	Remedy  string
}

// A LackError is a *MissingError about some limits only: the others can be had. Names are
// the controllers ("io") or the files of limits ("io.weight") that are not there.
type LackError struct {
	Names []string
	Err   error
}

func (e *LackError) Error() string { return e.Err.Error() }
func (e *LackError) Unwrap() error { return e.Err }

func (e *MissingError) Error() string { return e.Missing + " (" + e.Remedy + ")" }

// unitHelp is the remedy for most of what is missing.
const unitHelp = "Delegate=yes in the systemd unit"

// A system is what Locate asks of the machine. Tests have others.
type system struct {
	proc string // where proc(5) is mounted
	euid int
	// fileSystem returns the type of the file system at a path (statfs(2)), and whether
	// it is mounted read-only there.
	fileSystem func(path string) (magic int64, readOnly bool, err error)
	xattr      func(path, name string) string       // "" where there is none
	owner      func(path string) (uid int, ok bool) // of a directory
	writable   func(path string) bool               // for the effective user
}

func thisSystem() system {
	return system{
		proc: "/proc",
		euid: os.Geteuid(),
		fileSystem: func(path string) (int64, bool, error) {
			var st unix.Statfs_t
			err := unix.Statfs(path, &st)
			return int64(st.Type), st.Flags&unix.ST_RDONLY != 0, err
		},
		xattr: func(path, name string) string {
			buf := make([]byte, 16)
			n, err := unix.Getxattr(path, name, buf)
			if err != nil {
				return ""
			}
			return string(buf[:n])
		},
		owner: func(path string) (int, bool) {
			var st unix.Stat_t
			err := unix.Stat(path, &st)
			return int(st.Uid), err == nil
		},
		writable: func(path string) bool {
			return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS) == nil
		},
	}
}

// Locate finds the cgroup that this process may divide: its own, or the one above if
// systemd or an earlier Prepare has put the process into a subgroup. It changes nothing.
// The error is a *MissingError where the machine has no such cgroup.
func Locate() (*Root, error) { return thisSystem().locate() }

func (s system) locate() (*Root, error) {
	own, at, err := s.ownDirectory()
	if err != nil {
		return nil, err
	}
	path, err := s.delegated(own, at)
	if err != nil {
		return nil, err
	}
	if err := s.usable(path); err != nil {
		return nil, err
	}
	return &Root{
		directory: absolute(path),
		own:       own,
		lock:      -1,
		services:  map[string]*Service{},
		park:      func(f func()) { f() },
	}, nil
}

func (s system) membership(pid string) (membership, error) {
	path := filepath.Join(s.proc, pid, "cgroup")
	text, err := os.ReadFile(path)
	if err != nil {
		return membership{}, &MissingError{err.Error(), "mount proc, and use a kernel with cgroups"}
	}
	m, err := parseMembership(string(text))
	if err != nil {
		return membership{}, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// ownDirectory returns the directory of the cgroup that this process is in, and the mount
// that it was found in.
func (s system) ownDirectory() (string, mount, error) {
	self, err := s.membership("self")
	if err != nil {
		return "", mount{}, err
	}
	text, err := os.ReadFile(filepath.Join(s.proc, "self/mountinfo"))
	if err != nil {
		return "", mount{}, &MissingError{err.Error(), "mount proc"}
	}
	mounts := parseMounts(string(text))

	// A controller is in one version only, for the whole machine. The others, such as
	// net_cls, may be in version 1 beside a complete version 2.
	taken := slices.DeleteFunc(self.v1, func(c string) bool {
		return !slices.Contains([]string{"memory", "pids", "cpu", "blkio"}, c)
	})
	if len(taken) > 0 {
		kind := "cgroup version 1"
		if len(mounts) > 0 {
			kind = "hybrid cgroups"
		}
		slices.Sort(taken)
		return "", mount{}, &MissingError{
			fmt.Sprintf("this machine has %s, which keeps the controllers %s from version 2", kind, strings.Join(taken, ", ")),
			"boot the machine, or the host of the container, with systemd.unified_cgroup_hierarchy=1",
		}
	}
	if self.path == "" {
		return "", mount{}, &MissingError{"the kernel has no cgroup version 2", "a kernel with CONFIG_CGROUPS and cgroup version 2, Linux 5.14 or later"}
	}
	if path, gone := strings.CutSuffix(self.path, " (deleted)"); gone {
		return "", mount{}, &MissingError{"the cgroup " + path + " of this process has been removed", "start it again"}
	}
	return s.find(self.path, mounts)
}

// find returns the directory of a cgroup. Of several mounts that show it, it takes the
// first that can be written.
func (s system) find(path string, mounts []mount) (string, mount, error) {
	missing := &MissingError{
		fmt.Sprintf("the cgroup %s of this process cannot be seen in /sys/fs/cgroup", path),
		"mount cgroup2 at /sys/fs/cgroup, in a container with a cgroup namespace of its own",
	}
	for _, m := range mounts {
		dir, ok := m.directoryOf(path)
		if !ok {
			continue
		}
		// Something else may be mounted above it.
		magic, readOnly, err := s.fileSystem(dir)
		switch {
		case err != nil || magic != unix.CGROUP2_SUPER_MAGIC:
		case readOnly:
			missing = &MissingError{
				m.point + " is mounted read-only",
				"ProtectControlGroups=no in the systemd unit; for a container, a writable /sys/fs/cgroup, as with --privileged",
			}
		default:
			return dir, m, nil
		}
	}
	return "", mount{}, missing
}

// usable returns what would keep the master from dividing a cgroup that is delegated.
func (s system) usable(path string) error {
	d := absolute(path)
	for _, file := range []string{".", "cgroup.procs", "cgroup.subtree_control"} {
		if !s.writable(filepath.Join(path, file)) {
			return &MissingError{
				fmt.Sprintf("%s is not writable for user %d", filepath.Join(path, file), s.euid),
				unitHelp + " together with User=, or chown of the directory and of its files cgroup.procs and cgroup.subtree_control",
			}
		}
	}
	kind, err := d.words("cgroup.type")
	if err != nil {
		return err
	}
	if !slices.Equal(kind, []string{"domain"}) {
		return &MissingError{
			fmt.Sprintf("%s is of type %q, in which memory cannot be limited", path, strings.Join(kind, " ")),
			"start preforkd in a cgroup that is not threaded",
		}
	}
	if !d.has("cgroup.kill") {
		return &MissingError{"the kernel cannot kill a cgroup (no cgroup.kill in " + path + ")", "Linux 5.14 or later"}
	}
	return nil
}
