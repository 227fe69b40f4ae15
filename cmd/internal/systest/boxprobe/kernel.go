package main

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What is asked for here with a 0 or -1 where there should be something is refused
// in any case. Without the right to it the error is EPERM.
var kernel = map[string]attempt{
	"bpf":      bpf,
	"io-uring": ioUring,
	"userfaultfd": func([]string) (string, error) {
		return descriptorOf(unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0))
	},
	"keyctl": func([]string) (string, error) {
		return only2(unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, true))
	},
	"add-key": func([]string) (string, error) {
		return only2(unix.AddKey("user", "preforkd", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING))
	},
	"perf":          perf,
	"kexec":         call("kexec_load", unix.SYS_KEXEC_LOAD, 0, 0, 0, ^uintptr(0)),
	"init-module":   call("init_module", unix.SYS_INIT_MODULE, 0, 0, 0),
	"finit-module":  call("finit_module", unix.SYS_FINIT_MODULE, ^uintptr(0), 0, 0),
	"delete-module": call("delete_module", unix.SYS_DELETE_MODULE, 0, 0),
	"reboot":        call("reboot", unix.SYS_REBOOT, 0, 0, 0, 0),
	"swapon":        func([]string) (string, error) { return onPath(unix.SYS_SWAPON) },
	"swapoff":       func([]string) (string, error) { return onPath(unix.SYS_SWAPOFF) },
	"acct":          func([]string) (string, error) { return onPath(unix.SYS_ACCT) },
	"syslog": func([]string) (string, error) {
		return only2(unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, make([]byte, 4096)))
	},
	"set-clock":    setClock,
	"set-hostname": setHostname,
	"personality":  call("personality", unix.SYS_PERSONALITY, 0x0040000), // ADDR_NO_RANDOMIZE
	"realtime":     realtime, "realtime-by-attributes": realtimeByAttributes,
	"nice":            func([]string) (string, error) { return only(unix.Setpriority(unix.PRIO_PROCESS, 0, -5)) },
	"vhangup":         call("vhangup", unix.SYS_VHANGUP),
	"type-ahead":      typeAhead,
	"raise-core":      raiseCore,
	"unlimited":       unlimited,
	"gain-capability": gainCapability,
}

func only2[T any](_ T, err error) (string, error) { return "", err }

func descriptorOf(fd, _ uintptr, errno unix.Errno) (string, error) {
	if errno != 0 {
		return "", errno
	}
	return closing(int(fd), nil)
}

// onPath calls with the name of a file that there is not.
func onPath(trap uintptr) (string, error) {
	path, err := unix.BytePtrFromString("/preforkd-no-such-file")
	if err != nil {
		return "", err
	}
	_, _, errno := unix.Syscall(trap, uintptr(unsafe.Pointer(path)), 0, 0)
	if errno != 0 {
		return "", errno
	}
	return "", nil
}

// bpf makes a map (BPF_MAP_CREATE, bpf(2)).
func bpf([]string) (string, error) {
	const mapCreate, array = 0, 2
	attributes := [32]uint32{array, 4, 4, 1}
	return descriptorOf(unix.Syscall(unix.SYS_BPF, mapCreate, uintptr(unsafe.Pointer(&attributes)), 20))
}

func ioUring([]string) (string, error) {
	var params [30]uint32 // struct io_uring_params
	return descriptorOf(unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0))
}

// perf counts what the kernel does on a processor.
func perf([]string) (string, error) {
	attributes := unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_CPU_CLOCK}
	attributes.Size = uint32(unsafe.Sizeof(attributes))
	return closing(unix.PerfEventOpen(&attributes, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC))
}

// setClock sets the clock's frequency to what it is.
func setClock([]string) (string, error) {
	var now unix.Timex
	if _, err := unix.Adjtimex(&now); err != nil {
		return "", err
	}
	return only2(unix.Adjtimex(&unix.Timex{Modes: unix.ADJ_FREQUENCY, Freq: now.Freq}))
}

// setHostname sets the host name to what it is.
func setHostname([]string) (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	return only(unix.Sethostname([]byte(name)))
}

// realtime gives a thread real-time scheduling, and takes it away again.
func realtime([]string) (string, error) {
	return scheduled(func(policy, priority int) error {
		value := int32(priority) // struct sched_param
		_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, uintptr(policy), uintptr(unsafe.Pointer(&value)))
		if errno != 0 {
			return errno
		}
		return nil
	})
}

func realtimeByAttributes([]string) (string, error) {
	return scheduled(func(policy, priority int) error {
		return unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: uint32(policy), Priority: uint32(priority)}, 0)
	})
}

func scheduled(set func(policy, priority int) error) (string, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const other, fifo = 0, 1
	if err := set(fifo, 1); err != nil {
		return "", err
	}
	return only(set(other, 0))
}

// typeAhead puts a byte into the input of a terminal (TIOCSTI, ioctl_tty(2)). Without
// a path it tries those that it may have been given.
func typeAhead(args []string) (string, error) {
	fds := []int{0, 1, 2}
	for _, path := range args {
		fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return "", err
		}
		defer unix.Close(fd)
		fds = []int{fd}
	}
	if fd, err := unix.Open("/dev/tty", unix.O_RDWR|unix.O_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		fds = append(fds, fd)
	}
	var last error
	x := byte('x')
	for _, fd := range fds {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSTI, uintptr(unsafe.Pointer(&x)))
		if errno == 0 {
			return "", nil
		}
		last = errno
	}
	return "", last
}

// raiseCore allows core dumps.
func raiseCore([]string) (string, error) {
	return only(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}))
}

// unlimited takes the limit of open files away.
func unlimited([]string) (string, error) {
	return only(unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}, nil))
}

// gainCapability adds to the permitted set what is in the bounding set.
func gainCapability([]string) (string, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return "", err
	}
	sets[0].Permitted |= 1 << unix.CAP_DAC_OVERRIDE
	sets[0].Effective |= 1 << unix.CAP_DAC_OVERRIDE
	return only(unix.Capset(&header, &sets[0]))
}
