package main

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest/calltrace"
)

// faults are the errors that the system calls of an upgrade may fail with, by the names of
// callName. They are of the manual pages of the calls, and stand for all that are dealt with
// in the same way: what the process lacks, what the machine lacks, and a signal.
var faults = map[string][]unix.Errno{
	"accept4":               {unix.EMFILE, unix.ECONNABORTED},
	"capset":                {unix.EPERM},
	"clone":                 {unix.EAGAIN, unix.ENOMEM},
	"clone3":                {unix.EAGAIN, unix.ENOMEM},
	"close":                 {unix.EIO, unix.EINTR},
	"close_range":           {unix.EMFILE},
	"connect":               {unix.ECONNREFUSED, unix.EAGAIN},
	"dup3":                  {unix.EMFILE},
	"epoll_create1":         {unix.EMFILE},
	"epoll_ctl":             {unix.ENOMEM, unix.ENOSPC},
	"eventfd2":              {unix.EMFILE},
	"execve":                {unix.ENOMEM, unix.ETXTBSY},
	"execveat":              {unix.ENOMEM, unix.ETXTBSY},
	"faccessat":             {unix.EACCES},
	"faccessat2":            {unix.EACCES},
	"fcntl F_ADD_SEALS":     {unix.EBUSY},
	"fcntl F_DUPFD_CLOEXEC": {unix.EMFILE},
	"fcntl F_GETFD":         {unix.EBADF},
	"fcntl F_GETFL":         {unix.EBADF},
	"fcntl F_GET_SEALS":     {unix.EINVAL},
	"fcntl F_SETFD":         {unix.EBADF},
	"fcntl F_SETFL":         {unix.EPERM},
	"fstat":                 {unix.ENOMEM},
	"fstatfs":               {unix.EIO},
	"ftruncate":             {unix.EIO, unix.EINTR},
	"getdents64":            {unix.ENOENT},
	"getpeername":           {unix.ENOBUFS},
	"getsockname":           {unix.ENOBUFS},
	"getsockopt":            {unix.ENOPROTOOPT},
	"kill":                  {unix.EPERM},
	"lseek":                 {unix.ESPIPE},
	"memfd_create":          {unix.EMFILE, unix.ENOMEM},
	"newfstatat":            {unix.EACCES, unix.ENOMEM},
	"openat":                {unix.EMFILE, unix.EACCES, unix.EINTR},
	"pidfd_open":            {unix.EMFILE},
	"pidfd_send_signal":     {unix.EPERM},
	"pipe2":                 {unix.EMFILE},
	"ppoll":                 {unix.ENOMEM, unix.EINTR},
	"prctl":                 {unix.EPERM},
	"pread64":               {unix.EIO, unix.EINTR},
	"prlimit64":             {unix.EPERM},
	"pwrite64":              {unix.ENOSPC, unix.EINTR},
	"read":                  {unix.EIO, unix.EINTR},
	"readlinkat":            {unix.EACCES},
	"recvfrom":              {unix.ENOMEM, unix.EINTR},
	"recvmsg":               {unix.ENOMEM, unix.EINTR},
	"rt_sigtimedwait":       {unix.EINTR},
	"sendmsg":               {unix.ENOBUFS, unix.EINTR},
	"sendto":                {unix.ENOBUFS, unix.EINTR},
	"setpgid":               {unix.EPERM},
	"setsid":                {unix.EPERM},
	"setsockopt":            {unix.ENOBUFS},
	"shutdown":              {unix.ENOTCONN},
	"socket":                {unix.EMFILE},
	"socketpair":            {unix.EMFILE},
	"statfs":                {unix.EIO},
	"unshare":               {unix.EPERM, unix.ENOMEM},
	"wait4":                 {unix.ECHILD, unix.EINTR},
	"waitid":                {unix.ECHILD, unix.EINTR},
	"write":                 {unix.EIO, unix.EAGAIN, unix.EINTR},
}

// Why a call is not made to fail.
const (
	cannotFail   = "it has no error, or only that of a wrong argument"
	runtimesOwn  = "the Go runtime makes it, and ends the program or goes on as if nothing were"
	runtimesStop = "it waits, and the Go runtime looks at what it waits for and not at the result"
)

// notFaulted are the other calls of an upgrade.
var notFaulted = map[string]string{
	"arch_prctl":        runtimesOwn,
	"capget":            cannotFail,
	"clock_gettime":     cannotFail,
	"clock_nanosleep":   runtimesStop,
	"epoll_pwait":       runtimesStop,
	"epoll_wait":        runtimesStop,
	"exit":              cannotFail,
	"exit_group":        cannotFail,
	"futex":             runtimesStop,
	"getegid":           cannotFail,
	"geteuid":           cannotFail,
	"getgid":            cannotFail,
	"getpgid":           cannotFail,
	"getpid":            cannotFail,
	"getppid":           cannotFail,
	"getrandom":         cannotFail,
	"getrlimit":         cannotFail,
	"getrusage":         cannotFail,
	"gettid":            cannotFail,
	"getuid":            cannotFail,
	"madvise":           runtimesOwn,
	"mincore":           runtimesOwn,
	"mmap":              runtimesOwn,
	"mprotect":          runtimesOwn,
	"munmap":            runtimesOwn,
	"nanosleep":         runtimesStop,
	"restart_syscall":   cannotFail,
	"rt_sigaction":      cannotFail,
	"rt_sigpending":     cannotFail,
	"rt_sigprocmask":    cannotFail,
	"rt_sigreturn":      cannotFail,
	"sched_getaffinity": cannotFail,
	"sched_yield":       cannotFail,
	"set_robust_list":   cannotFail,
	"set_tid_address":   cannotFail,
	"sigaltstack":       cannotFail,
	"tgkill":            runtimesOwn,
	"umask":             cannotFail,
	"uname":             cannotFail,
}

// An expectedFault is a fault with the outcome that it must have.
type expectedFault struct {
	placedFault
	outcome string
}

// fewFaults are those of the short form: each program is among them, and each outcome that
// does not end the process.
var fewFaults = []expectedFault{
	{placedFault{place{oldProgram, "openat", 1}, unix.EINTR}, upgradedStill},
	{placedFault{place{oldProgram, "openat", 1}, unix.EMFILE}, wentBackBefore},
	{placedFault{place{oldProgram, "memfd_create", 3}, unix.ENOMEM}, wentBackBefore},
	{placedFault{place{oldProgram, "execve", 1}, unix.ENOMEM}, wentBackBefore},
	{placedFault{place{oldProgram, "execve", 2}, unix.ETXTBSY}, wentBackBefore},
	{placedFault{place{oldProgram, "fcntl F_SETFD", 6}, unix.EBADF}, wentBackBefore},
	{placedFault{place{rehearsing, "fcntl F_GET_SEALS", 1}, unix.EINVAL}, wentBackBefore},
	{placedFault{place{rehearsing, "statfs", 1}, unix.EIO}, upgradedStill},
	{placedFault{place{newProgram, "fcntl F_GET_SEALS", 1}, unix.EINVAL}, wentBackAfter},
	{placedFault{place{newProgram, "fcntl F_SETFD", 6}, unix.EBADF}, wentBackAfter},
	{placedFault{place{newProgram, "capset", 1}, unix.EPERM}, wentBackAfter},
	{placedFault{place{newProgram, "unshare", 1}, unix.EPERM}, upgradedStill},
}

// commands are what callName tells fcntl(2)s apart by.
var commands = map[uint64]string{
	unix.F_DUPFD_CLOEXEC: "F_DUPFD_CLOEXEC",
	unix.F_GETFD:         "F_GETFD",
	unix.F_SETFD:         "F_SETFD",
	unix.F_GETFL:         "F_GETFL",
	unix.F_SETFL:         "F_SETFL",
	unix.F_ADD_SEALS:     "F_ADD_SEALS",
	unix.F_GET_SEALS:     "F_GET_SEALS",
}

// callName returns how the tables name a call: by its name, and fcntl(2) by its command, too.
func callName(c calltrace.Call) string {
	if c.Name != "fcntl" {
		return c.Name
	}
	command, known := commands[c.Args[1]]
	if !known {
		command = strconv.FormatUint(c.Args[1], 10)
	}
	return c.Name + " " + command
}
