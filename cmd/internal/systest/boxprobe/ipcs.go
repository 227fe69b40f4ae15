package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// System V IPC (sysvipc(7)) and POSIX message queues (mq_overview(7)) of others. What
// "make" makes stays; "remove" removes it.
var ipcs = map[string]attempt{
	"shm-make": func(args []string) (string, error) {
		return get(unix.SYS_SHMGET, number(args[0]), 4096, unix.IPC_CREAT|0o666)
	},
	"shm-find":   func(args []string) (string, error) { return get(unix.SYS_SHMGET, number(args[0]), 0, 0) },
	"shm-remove": func(args []string) (string, error) { return remove(unix.SYS_SHMGET, unix.SYS_SHMCTL, number(args[0])) },
	"sem-make": func(args []string) (string, error) {
		return get(unix.SYS_SEMGET, number(args[0]), 1, unix.IPC_CREAT|0o666)
	},
	"sem-find":   func(args []string) (string, error) { return get(unix.SYS_SEMGET, number(args[0]), 0, 0) },
	"sem-remove": func(args []string) (string, error) { return remove(unix.SYS_SEMGET, unix.SYS_SEMCTL, number(args[0])) },
	"msg-make": func(args []string) (string, error) {
		return get(unix.SYS_MSGGET, number(args[0]), unix.IPC_CREAT|0o666, 0)
	},
	"msg-find":   func(args []string) (string, error) { return get(unix.SYS_MSGGET, number(args[0]), 0, 0) },
	"msg-remove": func(args []string) (string, error) { return remove(unix.SYS_MSGGET, unix.SYS_MSGCTL, number(args[0])) },
	"mq-make": func(args []string) (string, error) {
		return queue(unix.SYS_MQ_OPEN, args[0], unix.O_RDWR|unix.O_CREAT, 0o666)
	},
	"mq-find":   func(args []string) (string, error) { return queue(unix.SYS_MQ_OPEN, args[0], unix.O_RDWR, 0) },
	"mq-remove": func(args []string) (string, error) { return queue(unix.SYS_MQ_UNLINK, args[0], 0, 0) },
}

func get(trap uintptr, key, a, b int) (string, error) {
	_, _, errno := unix.Syscall(trap, uintptr(key), uintptr(a), uintptr(b))
	if errno != 0 {
		return "", errno
	}
	return "", nil
}

func remove(get, control uintptr, key int) (string, error) {
	id, _, errno := unix.Syscall(get, uintptr(key), 0, 0)
	if errno != 0 {
		return "", errno
	}
	a := [6]uintptr{id, unix.IPC_RMID}
	if control == unix.SYS_SEMCTL {
		a = [6]uintptr{id, 0, unix.IPC_RMID}
	}
	if _, _, errno = unix.Syscall6(control, a[0], a[1], a[2], a[3], a[4], a[5]); errno != 0 {
		return "", errno
	}
	return "", nil
}

// queue calls with the name of a queue. The descriptor is left open: the queue
// stays either way.
func queue(trap uintptr, name string, flags, mode int) (string, error) {
	text, err := unix.BytePtrFromString(name)
	if err != nil {
		return "", err
	}
	_, _, errno := unix.Syscall6(trap, uintptr(unsafe.Pointer(text)), uintptr(flags), uintptr(mode), 0, 0, 0)
	if errno != 0 {
		return "", os.NewSyscallError("mq", errno)
	}
	return "", nil
}
