package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

var files = map[string]attempt{
	"read":           read,
	"write":          write,
	"remove":         func(args []string) (string, error) { return only(os.Remove(args[0])) },
	"walk":           walk,
	"change":         change,
	"setuid-bit":     setuidBit,
	"open-by-handle": openByHandle,
	"mknod": func(args []string) (string, error) {
		defer os.Remove(args[0])
		return only(unix.Mknod(args[0], unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
	},
}

func read(args []string) (string, error) {
	fd, err := unix.Open(args[0], unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	text := make([]byte, 8192) // as much as a record of /dev/kmsg
	n, err := unix.Read(fd, text)
	if err != nil {
		return "", err
	}
	if n == 0 {
		return "", unix.ENODATA
	}
	line, _, _ := strings.Cut(string(text[:n]), "\n")
	return line, nil
}

func write(args []string) (string, error) {
	return only(os.WriteFile(args[0], []byte(strings.Join(args[1:], " ")+"\n"), 0o666))
}

// walk tries to open for writing each file below some directories, and to make a
// directory in each directory. It fails if there is none where it could.
func walk(args []string) (string, error) {
	var open []string
	seen := 0
	last := error(unix.ENOENT)
	note := func(path string, err error) {
		if err != nil {
			last = err
			return
		}
		open = append(open, path)
	}
	for _, root := range args {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return nil // what cannot be seen
			case d.IsDir():
				seen++
				name := filepath.Join(path, "preforkd-escape")
				err := unix.Mkdir(name, 0o700)
				if err == nil {
					unix.Rmdir(name)
				}
				note(path, err)
			case d.Type().IsRegular():
				seen++
				fd, err := unix.Open(path, unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
				if err == nil {
					var st unix.Stat_t
					if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
						err = unix.ENXIO // a device is mounted there
					}
					unix.Close(fd)
				}
				note(path, err)
			}
			return nil
		})
	}
	if len(open) == 0 {
		return "", fmt.Errorf("none of %d: %w", seen, last)
	}
	return strings.Join(open[:min(len(open), 50)], " "), nil
}

// change tries all that changes an existing file, in ways that do no harm.
func change(args []string) (string, error) {
	path := args[0]
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return "", err
	}
	var did []string
	var last error
	for name, f := range map[string]func() error{
		"chmod":    func() error { return unix.Chmod(path, st.Mode&0o7777) },
		"chown":    func() error { return unix.Chown(path, int(st.Uid), int(st.Gid)) },
		"utimes":   func() error { return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, 0) },
		"truncate": func() error { return unix.Truncate(path, st.Size) },
		"setxattr": func() error { return unix.Setxattr(path, "user.preforkd", []byte("x"), 0) },
		"rename": func() error {
			if err := unix.Rename(path, path+"-moved"); err != nil {
				return err
			}
			return unix.Rename(path+"-moved", path)
		},
		"link": func() error {
			if err := unix.Link(path, path+"-linked"); err != nil {
				return err
			}
			return unix.Unlink(path + "-linked")
		},
		"symlink": func() error {
			if err := unix.Symlink(path, path+"-symbolic"); err != nil {
				return err
			}
			return unix.Unlink(path + "-symbolic")
		},
	} {
		if err := f(); err == nil {
			did = append(did, name)
		} else {
			last = fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(did) == 0 {
		return "", last
	}
	return strings.Join(did, " "), nil
}

// setuidBit tries all ways to make a setuid file in a directory where it may write.
func setuidBit(args []string) (string, error) {
	dir, err := os.MkdirTemp(args[0], "setuid-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "setuid")
	if err := os.WriteFile(path, nil, 0o700); err != nil {
		return "", err
	}
	const fchmodat2 = 452 // of every architecture
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	name, err := syscall.BytePtrFromString(path)
	if err != nil {
		return "", err
	}
	for _, mode := range []uint32{0o4755, 0o2755, 0o6700} {
		_ = unix.Chmod(path, mode)
		_ = unix.Fchmod(fd, mode)
		_ = unix.Fchmodat(unix.AT_FDCWD, path, mode, 0)
		at := unix.AT_FDCWD
		_, _, _ = unix.Syscall6(fchmodat2, uintptr(at), uintptr(unsafe.Pointer(name)), uintptr(mode), 0, 0, 0)
		if other, err := unix.Open(path+"2", unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, mode); err == nil {
			unix.Close(other)
		}
		_ = unix.Mknod(path+"3", unix.S_IFREG|mode, 0)
		_ = unix.Mkdir(path+"4", mode)
	}
	for _, made := range []string{"", "2", "3", "4"} {
		var st unix.Stat_t
		if unix.Lstat(path+made, &st) == nil && st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			return fmt.Sprintf("mode %o", st.Mode), nil
		}
	}
	return "", unix.EPERM
}

// openByHandle opens a file by its number, which knows of no mounts
// (CAP_DAC_READ_SEARCH, open_by_handle_at(2)).
func openByHandle(args []string) (string, error) {
	handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, args[0], 0)
	if err != nil {
		return "", err
	}
	dir, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(dir)
	return closing(unix.OpenByHandleAt(dir, handle, unix.O_RDONLY|unix.O_CLOEXEC))
}
