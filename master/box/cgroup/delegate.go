package cgroup

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// masterLeaf is the leaf that Prepare puts the master into.
const masterLeaf = "master"

// unitSuffixes are those of units that have cgroups (systemd.unit(5)). systemd uses none
// of them for a subgroup.
var unitSuffixes = []string{".service", ".scope", ".slice", ".socket", ".mount", ".swap"}

// delegated returns the cgroup that is delegated to this process: its own or the one
// above. The one above can be somebody else's, so it counts only if own has the name of
// a subgroup and not that of a unit.
func (s system) delegated(own string, at mount) (string, error) {
	if s.isDelegated(own, own, at) {
		return own, nil
	}
	above := filepath.Dir(own)
	if own != at.point && !slices.Contains(unitSuffixes, path.Ext(own)) && s.isDelegated(above, own, at) {
		return above, nil
	}
	if !absolute(own).has("cgroup.type") {
		return "", &MissingError{"preforkd runs in the root cgroup, which it may not divide", "start it as a systemd unit with Delegate=yes"}
	}
	if own == at.point && at.root == "/" {
		return "", &MissingError{
			fmt.Sprintf("the cgroup namespace shows %s, and nothing says that it is delegated to preforkd", own),
			unitHelp + ", and no DelegateSubgroup= together with ProtectControlGroups=private; in a container, preforkd as its first process",
		}
	}
	return "", &MissingError{
		fmt.Sprintf("the cgroup %s is not delegated to preforkd", own),
		unitHelp + "; without systemd, a cgroup of its own with the extended attribute user.delegate=1",
	}
}

// isDelegated reports whether a cgroup is for its processes to divide. There are three
// signs.
//
// systemd marks the cgroup of a unit with Delegate= by extended attributes
// (https://systemd.io/CGROUP_DELEGATION). Only CAP_SYS_ADMIN can see the older of the
// two names.
//
// Without root, what is delegated has been given by chown ("Model of Delegation" in
// cgroup-v2.rst): the directory is the user's, and the one above is not. Units of a
// user's systemd do not pass: there both are the user's.
//
// A container has a cgroup namespace, and its first process is in the root of it or, when
// somebody has moved all, with this one. If the container has a systemd of its own, its
// first process is in init.scope. A first process out of sight is that of another
// container or of the host.
func (s system) isDelegated(dir, own string, at mount) bool {
	if s.xattr(dir, "user.delegate") == "1" || s.xattr(dir, "trusted.delegate") == "1" {
		return true
	}
	if s.euid != 0 && s.owns(dir) && dir != at.point && !s.owns(filepath.Dir(dir)) {
		return true
	}
	// The root of all cgroups has no type (cgroups(7)).
	if dir != at.point || at.root != "/" || !absolute(dir).has("cgroup.type") {
		return false
	}
	first, err := s.membership("1")
	if err != nil {
		return false
	}
	in, _ := at.directoryOf(first.path)
	return in == dir || in == own
}

// owns reports whether a directory belongs to the effective user.
func (s system) owns(dir string) bool {
	uid, ok := s.owner(dir)
	return ok && uid == s.euid
}

// moveProcesses moves every process of the root cgroup into the leaf of this process.
// What is in a delegated cgroup is the master, its children, and in a container its
// neighbours, such as an init.
func (r *Root) moveProcesses() error {
	if r.own == r.directory.path {
		leaf := filepath.Join(r.directory.path, masterLeaf)
		if err := absolute(leaf).make(); err != nil && !isErrno(err, unix.EEXIST) {
			return err
		}
		// "0" is the process that writes, with all its threads. Its children are born
		// in the leaf from now on.
		if err := absolute(leaf).write("cgroup.procs", "0"); err != nil {
			return err
		}
		r.own = leaf
	}
	const rounds = 20 // for processes that others start here meanwhile
	var left []string
	for range rounds {
		var err error
		if left, err = r.directory.words("cgroup.procs"); err != nil {
			return err
		}
		if len(left) == 0 {
			return nil
		}
		for _, pid := range left {
			if pid == "0" {
				return &MissingError{
					fmt.Sprintf("in %s is a process of another pid namespace, which preforkd cannot move", r.directory.path),
					"start preforkd in a cgroup of its own",
				}
			}
			if err := absolute(r.own).write("cgroup.procs", pid); err != nil && !isErrno(err, unix.ESRCH) {
				return err
			}
		}
	}
	return fmt.Errorf("processes %v are still in %s after they were moved %d times", left, r.directory.path, rounds)
}
