package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// systemPath is where root's master has its socket.
const systemPath = "/run/preforkd/control.sock"

// ErrNoRuntimeDirectory reports that nothing says where this user's runtime
// files belong.
var ErrNoRuntimeDirectory = errors.New("XDG_RUNTIME_DIR is not set, so there is no place for it; control names one")

// DefaultPath returns where a master of this process's user has its control
// socket unless it is told otherwise: in the directory that systemd made for
// the unit (RUNTIME_DIRECTORY, systemd.exec(5)), else in /run/preforkd for root
// and in preforkd below XDG_RUNTIME_DIR for anybody else.
func DefaultPath() (string, error) {
	// With several of them, a colon stands between two.
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

// FindPath returns where a client looks for a master: where its user's would
// be, and if nothing is there, where root's is.
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
