package main

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

var namespaces = map[string]attempt{
	"clone":   clone,
	"unshare": func(args []string) (string, error) { return only(unix.Unshare(flags[args[0]])) },
	"setns": func(args []string) (string, error) {
		fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		return only(unix.Setns(fd, 0))
	},
	"mount": func(args []string) (string, error) {
		return mounted(args[0], unix.Mount("tmpfs", args[0], "tmpfs", 0, ""))
	},
	"bind": func(args []string) (string, error) {
		return mounted(args[0], unix.Mount("/", args[0], "", unix.MS_BIND, ""))
	},
	"remount": func([]string) (string, error) {
		// As it is without a box.
		return only(unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND, ""))
	},
	"unmount": func(args []string) (string, error) { return only(unix.Unmount(args[0], unix.MNT_DETACH)) },
	"pivot-root": func(args []string) (string, error) {
		return only(unix.PivotRoot(args[0], args[0]))
	},
	"chroot": func(args []string) (string, error) { return only(unix.Chroot(args[0])) },
	"fsopen": func([]string) (string, error) { return closing(unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)) },
	"open-tree": func([]string) (string, error) {
		return closing(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC))
	},
	"move-mount": func(args []string) (string, error) {
		return only(unix.MoveMount(unix.AT_FDCWD, args[0], unix.AT_FDCWD, args[0], 0))
	},
	"mount-setattr": func(args []string) (string, error) {
		return only(unix.MountSetattr(unix.AT_FDCWD, args[0], 0, &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	},
}

// flags are namespaces as clone(2) has them.
var flags = map[string]int{
	"mnt": unix.CLONE_NEWNS, "user": unix.CLONE_NEWUSER, "pid": unix.CLONE_NEWPID, "net": unix.CLONE_NEWNET,
	"ipc": unix.CLONE_NEWIPC, "uts": unix.CLONE_NEWUTS, "cgroup": unix.CLONE_NEWCGROUP, "time": unix.CLONE_NEWTIME,
}

// clone starts a process in a namespace of its own.
func clone(args []string) (string, error) {
	p, err := os.StartProcess("/proc/self/exe", []string{"boxprobe", childArg, "end"}, &os.ProcAttr{
		Sys: &syscall.SysProcAttr{Cloneflags: uintptr(flags[args[0]])},
	})
	if err != nil {
		return "", err
	}
	state, err := p.Wait()
	return fmt.Sprint(state), err
}

func mounted(path string, err error) (string, error) {
	if err == nil {
		err = unix.Unmount(path, unix.MNT_DETACH)
	}
	return only(err)
}
