package mounts

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// A Mount is the arguments of one mount(2) call.
type Mount struct {
	Source string
	Target string // a path of the box, without links
	Type   string // "" for a bind
	Flags  uintptr
	Data   string
}

// inodeSize is how many bytes of a private temporary file system there are for
// one inode. The kernel's own memory for an inode is not part of the size.
const inodeSize = 4096

// minInodes is the least number of inodes, so that a small file system can be used
// up to its size.
const minInodes = 64

// kernelFiles are files of /proc that show the kernel's memory or its log.
// /proc/sysrq-trigger can only be written to, and where these are hidden all of /proc is
// read-only.
var kernelFiles = []string{"/proc/kcore", "/proc/kallsyms", "/proc/kmsg"}

// cellDirectories returns where each cell has a mount of its own. It is in the
// order in which they are mounted.
func cellDirectories(c Config) (places []place) {
	if c.PrivatePIDs {
		places = append(places, newPlace(keyPrivatePIDs, "-/proc"))
	}
	if c.PrivateTmp {
		places = append(places, newPlace(keyPrivateTmp, "/tmp"), newPlace(keyPrivateTmp, "-/var/tmp"))
	}
	if c.PrivateDevices {
		places = append(places, newPlace(keyPrivateDevices, "-/dev/shm"))
	} else if c.PrivateTmp {
		places = append(places, newPlace(keyPrivateTmp, "-/dev/shm"))
	}
	if c.HasQueues() {
		places = append(places, newPlace(keyPrivateDevices, QueuesDirectory))
	}
	return places
}

// cellMounts returns what the holder of a cell mounts. The resolver sees the box as
// it is in the template when all else is done.
func cellMounts(r resolver, c Config) (mounts []Mount, err error) {
	for _, p := range cellDirectories(c) {
		fd, target, err := r.find(p)
		if err != nil {
			return nil, err
		}
		if fd < 0 {
			continue
		}
		unix.Close(fd)
		switch {
		case p.key == keyPrivatePIDs:
			proc, err := procMounts(r, c, target)
			if err != nil {
				return nil, err
			}
			mounts = append(mounts, proc...)
		case target == QueuesDirectory:
			mounts = append(mounts, Mount{Source: "mqueue", Target: target, Type: "mqueue", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC})
		// A link from /var/tmp to /tmp leads to the same directory.
		case !slices.ContainsFunc(mounts, func(m Mount) bool { return m.Target == target }):
			mounts = append(mounts, tmpMount(c, target))
		}
	}
	return mounts, nil
}

func tmpMount(c Config, target string) Mount {
	size := c.TmpSize
	if size == 0 {
		size = DefaultTmpSize
	}
	return Mount{
		Source: "tmpfs",
		Target: target,
		Type:   "tmpfs",
		Flags:  unix.MS_NOSUID | unix.MS_NODEV,
		Data:   fmt.Sprintf("mode=1777,size=%d,nr_inodes=%d", size, max(size/inodeSize, minInodes)),
	}
}

// procMounts returns the mounts of a fresh /proc. It shows the processes of the pid
// namespace of whoever mounts it.
func procMounts(r resolver, c Config, target string) ([]Mount, error) {
	proc := Mount{Source: "proc", Target: target, Type: "proc", Flags: unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC}
	if c.readOnlyProc() {
		proc.Flags |= unix.MS_RDONLY
	}
	if c.ProtectProc {
		proc.Data = "hidepid=2"
	}
	mounts := []Mount{proc}
	if !c.ProtectKernel {
		return mounts, nil
	}
	// The holder has plain mount(2) calls only, so what hides a file must have a
	// path in the box.
	fd, null, err := r.find(newPlace(keyProtectKernel, "/dev/null"))
	if err != nil {
		return nil, noNull(err)
	}
	unix.Close(fd)
	for _, file := range kernelFiles {
		// Which of these files there are depends on the kernel, so it is the same
		// in every /proc.
		if unix.Access(file, unix.F_OK) == nil {
			mounts = append(mounts, Mount{Source: null, Target: target + file[len("/proc"):], Flags: unix.MS_BIND})
		}
	}
	return mounts, nil
}
