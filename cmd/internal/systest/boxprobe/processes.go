package main

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var processes = map[string]attempt{
	"kill": func(args []string) (string, error) {
		return only(unix.Kill(number(args[0]), unix.Signal(number(args[1]))))
	},
	"scan":   scan,
	"ptrace": ptrace,
	"pidfd":  func(args []string) (string, error) { return closing(unix.PidfdOpen(number(args[0]), 0)) },
	"take-descriptor": func(args []string) (string, error) {
		pidfd, err := unix.PidfdOpen(number(args[0]), 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(pidfd)
		return closing(unix.PidfdGetfd(pidfd, number(args[1]), 0))
	},
	"peek":        peek,
	"descriptors": descriptors,
	"image":       image,
	"setuid-file": func(args []string) (string, error) {
		out, err := exec.Command(args[0], childArg, "euid").CombinedOutput()
		if err == nil && string(out) != "0" {
			err = fmt.Errorf("user %s: %w", out, unix.EPERM)
		}
		return string(out), err
	},
	"become": func(args []string) (string, error) {
		// Of this thread only.
		runtime.LockOSThread()
		id := uintptr(number(args[0]))
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, id, id, id)
		if errno != 0 {
			return "", errno
		}
		return "", nil
	},
	"daemon": func([]string) (string, error) { return leave("fork", 0) },
	"sibling": func([]string) (string, error) {
		return leave("hold", unix.CLONE_PARENT)
	},
	"ignore-term": func([]string) (string, error) {
		signal.Ignore(syscall.SIGTERM)
		return "", nil
	},
	"exit": func([]string) (string, error) { os.Exit(0); return "", nil },
}

// childArg is the first argument of a process that an attempt starts.
const childArg = "child"

func child(args []string) int {
	switch args[0] {
	case "euid":
		fmt.Print(os.Geteuid())
	case "fork": // and become the child of nobody
		if _, err := start("hold", &syscall.SysProcAttr{Setsid: true}, os.Stdin, os.NewFile(descriptorOfReady, "ready")); err != nil {
			return 1
		}
	case "hold":
		signal.Ignore(syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
		fmt.Fprintln(os.NewFile(descriptorOfReady, "ready"), os.Getpid())
		time.Sleep(time.Hour)
	}
	return 0
}

// descriptorOfReady is that of a pipe on which a child says that it runs.
const descriptorOfReady = 3

// start starts this program again. The child has the connection, and no environment
// by which it could be found.
func start(what string, attr *syscall.SysProcAttr, connection, ready *os.File) (*os.Process, error) {
	return os.StartProcess("/proc/self/exe", []string{"boxprobe", childArg, what}, &os.ProcAttr{
		Env: []string{}, Sys: attr,
		Files: []*os.File{connection, connection, connection, ready},
	})
}

// leave leaves a process behind that has the connection and does not obey, and
// returns its pid.
func leave(what string, flags uintptr) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	fd, err := unix.FcntlInt(uintptr(connectionDescriptor()), unix.F_DUPFD_CLOEXEC, 10)
	if err != nil {
		return "", err
	}
	connection := os.NewFile(uintptr(fd), "connection")
	defer connection.Close()
	attr := &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	p, err := start(what, attr, connection, w)
	w.Close()
	if err != nil {
		return "", err
	}
	if flags&unix.CLONE_PARENT != 0 {
		p.Release()
	} else if _, err := p.Wait(); err != nil {
		return "", err
	}
	line := make([]byte, 32)
	n, err := r.Read(line)
	return strings.TrimSpace(string(line[:n])), err
}

// connectionDescriptor returns which descriptor the connection is in the handoff
// that there is.
func connectionDescriptor() int {
	if _, err := unix.GetsockoptInt(0, unix.SOL_SOCKET, unix.SO_TYPE); err == nil {
		return 0
	}
	return 3
}

// scan looks for processes of others by all their numbers.
func scan([]string) (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return "", err
	}
	var seen, signalled, inProc []string
	for pid := range number(strings.TrimSpace(string(text))) + 1 {
		if pid == 0 {
			continue // its own group
		}
		err := unix.Kill(pid, 0)
		if err == unix.ESRCH {
			continue
		}
		// Threads have numbers, too.
		if _, e := os.Stat(fmt.Sprint("/proc/self/task/", pid)); e == nil {
			continue
		}
		seen = append(seen, strconv.Itoa(pid))
		if err == nil {
			signalled = append(signalled, strconv.Itoa(pid))
		}
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != os.Getpid() {
			inProc = append(inProc, e.Name())
		}
	}
	return fmt.Sprintf("seen: %s; signalled: %s; in /proc: %s", strings.Join(seen, ","), strings.Join(signalled, ","), strings.Join(inProc, ",")), nil
}

func ptrace(args []string) (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	pid := number(args[0])
	if err := unix.PtraceSeize(pid); err != nil {
		return "", err
	}
	// It can only be let go while it stands still.
	if err := unix.PtraceInterrupt(pid); err != nil {
		return "", err
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil {
		return "", err
	}
	return only(unix.PtraceDetach(pid))
}

// peek looks at what /proc has of a process, its memory among it.
func peek(args []string) (string, error) {
	dir := "/proc/" + args[0]
	var last error
	var did []string
	for _, name := range []string{"environ", "maps", "mem", "root", "cwd", "exe", "fd", "auxv"} {
		path := filepath.Join(dir, name)
		var err error
		switch name {
		case "root", "cwd", "exe":
			_, err = os.Readlink(path)
		case "fd":
			_, err = os.ReadDir(path)
		default: // the right is looked at when the file is opened
			var f *os.File
			if f, err = os.Open(path); err == nil {
				f.Close()
			}
		}
		if err == nil {
			did = append(did, name)
		} else {
			last = err
		}
	}
	if len(did) == 0 {
		return "", last
	}
	return strings.Join(did, " "), nil
}

// given is what this process has open when it begins, before the SDK moves its
// connection.
var given = openDescriptors()

func descriptors([]string) (string, error) { return given, nil }

// openDescriptors lists what this process has open, of all numbers that it could
// have. What Go's runtime opens by itself is left out.
func openDescriptors() string {
	var open []string
	for fd := range 4096 {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			continue
		}
		target, err := os.Readlink(fmt.Sprint("/proc/self/fd/", fd))
		if err != nil {
			target = "unknown"
		}
		if target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]" || strings.HasPrefix(target, "/sys/fs/cgroup/") {
			continue
		}
		kind, _, _ := strings.Cut(target, ":")
		open = append(open, fmt.Sprintf("%d=%s", fd, kind))
	}
	return strings.Join(open, " ")
}

// image tells which file this process is of, and what is mapped that is of no file of
// its own: where the entry of a box would have left something.
func image([]string) (string, error) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return "", err
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "", err
	}
	others := map[string]bool{}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) < 6 || f[5] == exe || strings.HasPrefix(f[5], "[") {
			continue
		}
		others[strings.Join(f[5:], "_")] = true
	}
	var names []string
	for name := range others {
		names = append(names, name)
	}
	return strings.TrimSpace(exe + " " + strings.Join(names, " ")), nil
}
