package control

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

const (
	// systemPath is the socket of a master that runs as root.
	systemPath = "/run/preforkd/control.sock"

	socketName = "control.sock"
)

// places is what the default control socket depends on.
type places struct {
	uid      int
	runtime  string // RUNTIME_DIRECTORY
	xdg      string // XDG_RUNTIME_DIR
	users    string // where systemd-logind makes a directory for each user
	tmp      string
	fallback string // systemPath
}

func currentPlaces() places {
	return places{
		uid: os.Geteuid(), runtime: os.Getenv("RUNTIME_DIRECTORY"), xdg: os.Getenv("XDG_RUNTIME_DIR"),
		users: "/run/user", tmp: "/tmp", fallback: systemPath,
	}
}

// DefaultPath returns the default control socket for a master of this process's
// user. It is the first of these:
//
//  1. in the directory that systemd has made for the unit (RUNTIME_DIRECTORY,
//     systemd.exec(5))
//  2. for root, in /run/preforkd
//  3. in preforkd below XDG_RUNTIME_DIR, if that is a directory of this user.
//     It is not after su, which leaves the variable as it was
//  4. in preforkd below /run/user/UID, if that is a directory of this user. So
//     cron, sudo and ssh find the same place, which do not set the variable
//  5. in /tmp/preforkd-UID, a directory that nobody else can enter
//
// It does not follow TMPDIR, of which a master and its clients may have different
// values.
func DefaultPath() string { return currentPlaces().candidates()[0] }

// candidates returns the paths that the user may have a control socket at, the
// default first. For root and units there is only one.
func (p places) candidates() (paths []string) {
	// A colon separates several directories.
	directory, _, _ := strings.Cut(p.runtime, ":")
	user := filepath.Join(p.users, strconv.Itoa(p.uid))
	switch {
	case filepath.IsAbs(directory):
		return []string{filepath.Join(directory, socketName)}
	case p.uid == 0:
		return []string{p.fallback}
	}
	if filepath.IsAbs(p.xdg) && p.owns(p.xdg) {
		paths = append(paths, filepath.Join(p.xdg, "preforkd", socketName))
	}
	if p.owns(user) {
		paths = append(paths, filepath.Join(user, "preforkd", socketName))
	}
	return append(paths, filepath.Join(p.private(), socketName))
}

// private returns the directory of a user who has no other place.
func (p places) private() string {
	return filepath.Join(p.tmp, "preforkd-"+strconv.Itoa(p.uid))
}

// owns reports whether a path is a directory of the user.
func (p places) owns(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir() && int(info.Sys().(*syscall.Stat_t).Uid) == p.uid
}

// FindPath returns the control socket that a client tries: that of its own
// user's master, or if there is none, that of root's. If there is neither, it is
// the first one, which a message should name.
//
// The client looks at all places that its user has. A master that was started at
// boot is in /tmp, and the first login makes /run/user/UID.
func FindPath() string { return currentPlaces().find() }

func (p places) find() string {
	if p.uid == 0 || filepath.IsAbs(p.runtime) {
		return p.candidates()[0]
	}
	var trusted []string
	for _, path := range p.candidates() {
		if filepath.Dir(path) == p.private() {
			// Anybody could have made it, and answer in the master's name.
			if err := p.checkPrivate(); err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue
			}
		}
		trusted = append(trusted, path)
	}
	trusted = append(trusted, p.fallback)
	for _, path := range trusted {
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return trusted[0]
}

// checkPrivate returns why the private directory cannot be trusted. In /tmp
// anybody can make a directory or a link of that name. What belongs to this user
// and lets nobody else in was made by nobody else, and the sticky bit of /tmp
// keeps it in its place.
func (p places) checkPrivate() error {
	dir := p.private()
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	switch owner := int(info.Sys().(*syscall.Stat_t).Uid); {
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case owner != p.uid:
		return fmt.Errorf("%s belongs to uid %d, and not to uid %d", dir, owner, p.uid)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %03o, and others must have no right to it", dir, info.Mode().Perm())
	}
	return nil
}

// makeDirectory makes the directory of a control socket if it is missing,
// because /run is empty after each boot. Its parent must exist.
func (p places) makeDirectory(dir string) error {
	// The mode of the socket decides who may connect. So the directory lets
	// everybody through, unless it is in a place where anybody writes.
	mode := fs.FileMode(0o755)
	if dir == p.private() {
		mode = 0o700
	}
	switch err := os.Mkdir(dir, mode); {
	case err == nil:
		if err := os.Chmod(dir, mode); err != nil { // whatever the umask is
			return err
		}
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	if dir == p.private() {
		return p.checkPrivate()
	}
	return nil
}
