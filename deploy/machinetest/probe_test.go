package machinetest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/osthread"
)

// envProbe makes the test binary a program that does as a box does: "probe" is in the
// place of the master, "holder" and "worker" are started by that.
const envProbe = "PREFORKD_BOX_PROBE"

// boxNamespaces are those that a box can have of its own.
const boxNamespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWUTS

// boxUser is a user of the pool, which has no name. systemd(1) gives these to services
// with DynamicUser=.
const boxUser = 61184

// steps are what the probe does, in this order. Each prints a line with its result.
//
// Another user comes first. os/exec shares the memory of this process with the child
// until that execs, and a change of the user makes the memory "not dumpable"
// (PR_SET_DUMPABLE(2const)). From then on much in /proc/self belongs to root, as it
// does for a master that has started workers of other users.
var steps = []struct {
	name string
	do   func() error
}{
	{"start as another user", func() error { return asUser(func(*exec.Cmd) error { return nil }) }},
	{"see a worker of another user", func() error { return asUser(see) }},
	{"end a worker of another user", func() error { return asUser(end) }},
	{"enable controllers", enableControllers},
	{"start in a group of its own", startInGroup},
	{"start in namespaces", startInNamespaces},
	{"enter namespaces", enterNamespaces},
	{"mount", func() error { return osthread.Run(makeRoot) }},
	{"open below a root", openBelow},
	{"give up rights", func() error { return osthread.Run(giveUp) }},
}

// actProbe is the main function of such a program.
func actProbe(role string) {
	switch role {
	case "probe":
		for _, s := range steps {
			result := "ok"
			if err := s.do(); err != nil {
				result = err.Error()
			}
			fmt.Printf("%s: %s\n", s.name, result)
		}
	case "holder":
		if err := mountOwn(); err != nil {
			fmt.Println(err)
			return
		}
		worker()
	case "worker":
		worker()
	}
}

// worker says that it runs, and ends with its standard input.
func worker() {
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
}

// with starts a worker or a holder, has something done while it runs, and ends it.
func with(role string, attributes *syscall.SysProcAttr, do func(*exec.Cmd) error) error {
	cmd := exec.Command("/opt/test")
	cmd.Env = []string{envProbe + "=" + role}
	cmd.SysProcAttr = attributes
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil && line != "ready\n" {
		err = errors.New(strings.TrimSpace(line))
	}
	if err == nil {
		err = do(cmd)
	}
	stdin.Close()
	cmd.Wait() // it may have been ended by a signal
	return err
}

// groupOf returns the directory of the cgroup of a process.
func groupOf(pid string) (string, error) {
	text, err := os.ReadFile("/proc/" + pid + "/cgroup")
	if err != nil {
		return "", err
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(string(text)), "0::")
	if !ok {
		return "", fmt.Errorf("not in cgroup v2: %q", text)
	}
	return filepath.Join("/sys/fs/cgroup", path), nil
}

// delegated returns the directory of the cgroup of the unit.
func delegated() (string, error) {
	group, err := groupOf("self")
	return strings.TrimSuffix(group, "/master"), err
}

func enableControllers() error {
	group, err := delegated()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(group, "cgroup.subtree_control"), []byte("+cpu +io +memory +pids"), 0)
}

// startInGroup makes a group with limits, starts a worker in it, and ends that by its
// group.
func startInGroup() (err error) {
	group, err := delegated()
	if err != nil {
		return err
	}
	leaf := filepath.Join(group, "leaf")
	if err := os.Mkdir(leaf, 0o755); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(leaf)) }()
	for file, value := range map[string]string{"memory.max": "64M", "pids.max": "64", "cpu.max": "50000 100000"} {
		if err := os.WriteFile(filepath.Join(leaf, file), []byte(value), 0); err != nil {
			return err
		}
	}
	dir, err := os.Open(leaf)
	if err != nil {
		return err
	}
	defer dir.Close()
	return with("worker", &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}, func(cmd *exec.Cmd) error {
		got, err := groupOf(fmt.Sprint(cmd.Process.Pid))
		if err != nil {
			return err
		}
		if got != leaf {
			return fmt.Errorf("the worker is in %s, not in %s", got, leaf)
		}
		return os.WriteFile(filepath.Join(leaf, "cgroup.kill"), []byte("1"), 0)
	})
}

func startInNamespaces() error {
	return with("holder", &syscall.SysProcAttr{Cloneflags: boxNamespaces}, func(*exec.Cmd) error { return nil })
}

// mountOwn makes the mounts that a connection has for itself.
func mountOwn() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range []struct{ kind, path string }{{"tmpfs", "/tmp"}, {"tmpfs", "/var/tmp"}, {"tmpfs", "/dev/shm"}, {"proc", "/proc"}} {
		if err := unix.Mount(m.kind, m.path, m.kind, unix.MS_NOSUID|unix.MS_NODEV, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return nil
}

// enterNamespaces enters those of a holder.
func enterNamespaces() error {
	return with("holder", &syscall.SysProcAttr{Cloneflags: boxNamespaces}, func(cmd *exec.Cmd) error {
		pidfd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
		if err != nil {
			return err
		}
		defer unix.Close(pidfd)
		return osthread.Run(func() error {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return fmt.Errorf("unshare: %w", err)
			}
			if err := unix.Setns(pidfd, boxNamespaces); err != nil {
				return fmt.Errorf("setns: %w", err)
			}
			return nil
		})
	})
}

// makeRoot makes a mount namespace whose root is read-only and has one directory of
// the old one.
func makeRoot() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	root, err := newTmpfs()
	if err != nil {
		return err
	}
	defer unix.Close(root)
	if err := unix.Mkdirat(root, "usr", 0o755); err != nil {
		return fmt.Errorf("mkdirat: %w", err)
	}
	usr, err := unix.OpenTree(unix.AT_FDCWD, "/usr", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(usr)
	readOnly := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV}
	if err := unix.MountSetattr(usr, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &readOnly); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	if err := unix.MoveMount(root, "", unix.AT_FDCWD, "/tmp", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	if err := unix.MoveMount(usr, "", root, "usr", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount: %w", err)
	}
	if err := unix.Chdir("/tmp"); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("umount: %w", err)
	}
	if err := os.WriteFile("/usr/written", nil, 0o644); !errors.Is(err, unix.EROFS) {
		return fmt.Errorf("a read-only file system can be written: %w", err)
	}
	return nil
}

// newTmpfs returns the descriptor of a file system that is mounted nowhere.
func newTmpfs() (int, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return 0, fmt.Errorf("fsopen: %w", err)
	}
	defer unix.Close(fs)
	if err := errors.Join(unix.FsconfigSetString(fs, "size", "1m"), unix.FsconfigCreate(fs)); err != nil {
		return 0, fmt.Errorf("fsconfig: %w", err)
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("fsmount: %w", err)
	}
	return mount, nil
}

// openBelow opens a path from which no symbolic link leads out.
func openBelow() error {
	usr, err := unix.Open("/usr", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(usr)
	fd, err := unix.Openat2(usr, "bin", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err != nil {
		return fmt.Errorf("openat2: %w", err)
	}
	return unix.Close(fd)
}

// asUser has something done while a worker of another user runs.
func asUser(do func(*exec.Cmd) error) error {
	return with("worker", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: boxUser, Gid: boxUser}}, do)
}

func see(cmd *exec.Cmd) error {
	_, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	return err
}

func end(cmd *exec.Cmd) error { return cmd.Process.Signal(syscall.SIGTERM) }

// giveUp does on this thread what is done last before the program of a box runs.
func giveUp() error {
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, unix.CAP_SYS_ADMIN, 0, 0, 0); err != nil {
		return fmt.Errorf("drop from the bounding set: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if err := unix.Prlimit(0, unix.RLIMIT_CORE, &unix.Rlimit{}, nil); err != nil {
		return fmt.Errorf("prlimit: %w", err)
	}
	return nil
}
