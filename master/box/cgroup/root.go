package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// A Root is the cgroup that the master divides. Its methods may be called by several
// goroutines at once.
type Root struct {
	directory directory

	mu       sync.Mutex          // guards what follows
	own      string              // cgroup of this process: directory.path, or a leaf below
	lock     int                 // descriptor with the lock of the directory, or -1
	enabled  []string            // controllers that services have
	services map[string]*Service // by the name of the directory
	park     func(f func())      // see ParkIn
}

// Path returns the directory.
func (r *Root) Path() string { return r.directory.path }

// ParkIn makes leaves open, use and close the descriptors that they keep inside of do,
// such as the Do of an fdpark.Thread, so that the table that fork copies does not grow
// with them. It must be called before the first Service.
func (r *Root) ParkIn(do func(f func())) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.park = do
}

// Missing returns a *LackError if one of some controllers cannot be had.
func (r *Root) Missing(controllers []string) error {
	there, err := r.directory.words("cgroup.controllers")
	if err != nil {
		return err
	}
	lacking := slices.DeleteFunc(slices.Clone(controllers), func(c string) bool { return slices.Contains(there, c) })
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)
	return &LackError{lacking, &MissingError{
		fmt.Sprintf("the cgroup %s lacks the controllers: %s", r.directory.path, strings.Join(lacking, ", ")),
		unitHelp + ", which has them all; without systemd, cgroup.subtree_control of the cgroups above; or a kernel that has them",
	}}
}

// Prepare takes the cgroup and makes it ready for services that use some controllers
// (Limits.Controllers). It may be called again when more are needed.
//
// It removes the services that this Root did not make, and kills their processes: they
// are of an earlier master that did not end in order. It returns how many there were.
// Another master that uses the same cgroup is an error. After an error of the first call
// the cgroup is free again.
func (r *Root) Prepare(controllers []string) (leftovers int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.Missing(controllers); err != nil {
		return 0, err
	}
	taken, err := r.take()
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil && taken {
			r.release()
		}
	}()
	if leftovers, err = r.sweep(); err != nil {
		return leftovers, fmt.Errorf("remove the cgroups of an earlier preforkd: %w", err)
	}
	if err := r.moveProcesses(); err != nil {
		return leftovers, err
	}
	for _, c := range controllers {
		if !slices.Contains(r.enabled, c) {
			if err := r.directory.write("cgroup.subtree_control", "+"+c); err != nil {
				return leftovers, err
			}
			r.enabled = append(r.enabled, c)
		}
	}
	return leftovers, nil
}

// take locks the directory (flock(2)), until release or the end of the process. It
// reports false if it was locked already.
func (r *Root) take() (taken bool, err error) {
	if r.lock >= 0 {
		return false, nil
	}
	fd, err := unix.Open(r.directory.path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, r.directory.fail("open", "", err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		unix.Close(fd)
		if err == unix.EWOULDBLOCK {
			return false, &MissingError{"another preforkd divides the cgroup " + r.directory.path, "a cgroup of its own for each"}
		}
		return false, r.directory.fail("flock", "", err)
	}
	r.lock = fd
	return true, nil
}

func (r *Root) release() {
	if r.lock >= 0 {
		unix.Close(r.lock)
		r.lock = -1
	}
}

// sweep removes the services that are not of this Root.
func (r *Root) sweep() (removed int, err error) {
	entries, err := os.ReadDir(r.directory.path)
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, e := range entries {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), servicePrefix) || r.services[e.Name()] != nil {
			continue
		}
		if err := absolute(filepath.Join(r.directory.path, e.Name())).removeAll(); err != nil {
			errs = append(errs, err)
			continue
		}
		removed++
	}
	return removed, errors.Join(errs...)
}

// Close lets another process take the cgroup. The services must be closed before.
func (r *Root) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.release()
}

// isErrno reports whether an error is that of the system call.
func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }
