package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// systemPath is the socket of a master that runs as root.
const systemPath = "/run/preforkd/control.sock"

// ErrNoRuntimeDirectory reports that this user has no directory for runtime
// files.
var ErrNoRuntimeDirectory = errors.New("XDG_RUNTIME_DIR is not set, so there is no place for it; control names one")

// DefaultPath returns the default control socket for a master of this process's
// user. It is in the directory that systemd has made for the unit
// (RUNTIME_DIRECTORY, systemd.exec(5)). Without a unit it is in /run/preforkd
// for root, and in preforkd below XDG_RUNTIME_DIR for other users.
func DefaultPath() (string, error) {
	// A colon separates several directories.
	directory, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	switch xdg := os.Getenv("XDG_RUNTIME_DIR"); {
	case filepath.IsAbs(directory):
		return filepath.Join(directory, "control.sock"), nil
	case os.Geteuid() == 0:
		return systemPath, nil
	case filepath.IsAbs(xdg):
		return filepath.Join(xdg, "preforkd", "control.sock"), nil
	}
	return "", ErrNoRuntimeDirectory
}

// FindPath returns the control socket that a client tries: that of its own
// user's master, or if there is none, that of root's.
func FindPath() string {
	path, err := DefaultPath()
	if err != nil {
		return systemPath
	}
	if _, err := os.Lstat(path); err != nil && os.Geteuid() != 0 && os.Getenv("RUNTIME_DIRECTORY") == "" {
		return systemPath
	}
	return path
}
