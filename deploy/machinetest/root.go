package machinetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// EnvCache names the variable with the directory in which root file systems are kept,
// each some 400 MB. By default it is a directory of the user's cache. A root is built
// anew when the script that makes it has changed; old ones may be deleted at any time.
const EnvCache = "PREFORKD_TEST_MACHINE_CACHE"

//go:embed root.sh
var rootScript string

// A root is what a machine boots from, as paths of files that nobody changes.
type root struct{ kernel, initrd, image string }

// cachedRoot returns the root, which it builds if there is none. Of several processes
// that need it at the same time, one builds it and the others wait.
func cachedRoot(ctx context.Context) (root, error) {
	cache := os.Getenv(EnvCache)
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return root{}, fmt.Errorf("%w; %s can name a directory", err, EnvCache)
		}
		cache = filepath.Join(user, "preforkd-test-machine")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return root{}, err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return root{}, err
	}
	defer lock.Close() // and so unlocked
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return root{}, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	dir := filepath.Join(cache, fmt.Sprintf("root-%.6x", sha256.Sum256([]byte(rootScript))))
	if _, err := os.Stat(dir); err != nil {
		if err := buildRoot(ctx, cache, dir); err != nil {
			return root{}, fmt.Errorf("build its root file system: %w", err)
		}
	}
	return root{filepath.Join(dir, "vmlinuz"), filepath.Join(dir, "initrd"), filepath.Join(dir, "root.img")}, nil
}

// buildRoot makes the directory of a root. It appears when it is complete. The caller
// holds the lock of the cache.
func buildRoot(ctx context.Context, cache, dir string) error {
	// What builds that were killed have left is in nobody's use while the lock is held.
	work := filepath.Join(cache, "building")
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.Mkdir(work, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(work)
	from, err := mirror(ctx)
	if err != nil {
		return err
	}
	// debootstrap mounts and starts things. In namespaces of its own they are gone
	// with it.
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
		"/bin/sh", "-c", rootScript, "root.sh", from, work)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	ended, err := startBound(cmd)
	if err == nil {
		err = <-ended
	}
	if err != nil {
		all := strings.Split(strings.TrimSpace(output.String()), "\n")
		return fmt.Errorf("%w:\n%s", err, strings.Join(all[max(0, len(all)-10):], "\n"))
	}
	return os.Rename(filepath.Join(work, "result"), dir)
}
