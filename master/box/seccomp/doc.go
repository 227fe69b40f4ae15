// Package seccomp compiles what a box says of system calls into one seccomp program
// (seccomp(2)): which calls are allowed, and with which arguments. systemd loads a
// program for each of its options instead, and the kernel runs all of them at every call.
//
// The package only compiles. It installs nothing, so a test can run what it makes
// without the kernel. It knows amd64 and arm64.
//
// # What the program answers
//
//   - Calls of another architecture, and of the x32 ABI, are always denied, because their
//     numbers mean other calls (SystemCallArchitectures=native in systemd.exec(5)).
//   - Calls that the policy denies get Config.Action. With a Config.Notice the holder of the
//     filter's listener is told of them, and answers in the kernel's place.
//   - Calls whose arguments a restriction forbids get EPERM, as in systemd, whatever the
//     action is. A new socket of a forbidden family gets EAFNOSUPPORT.
//   - Calls that are restricted by an argument which lies in memory, where a filter cannot
//     see it, get ENOSYS: clone3, openat2, sched_setattr. Programs use the older call then.
//   - Calls that are newer than the tables of package syscalls get ENOSYS, so that a new
//     kernel does not open a way around a restriction, or around a policy that takes away.
//
// # Speed
//
// The program finds the number of a call by binary search. Where a call is allowed with
// any arguments, the way to its end looks at nothing but the architecture and the number.
// Since Linux 5.11 the kernel finds these calls when the program is installed, and
// does not run the program for them (seccomp_cache_prepare in kernel/seccomp.c).
//
// # The cookie
//
// The process that installs the filter is not the program yet. It must still execute the
// program, or write what went wrong and end, which the policy may deny. So the program
// allows execve, write and exit_group when the fourth argument register holds Config.Cookie,
// and execveat when the sixth does. With a Notice it also allows dup3 and sendmsg so, by which
// the listener is sent away. The kernel ignores these registers for these calls, which have
// fewer arguments.
//
// This is safe as long as the program in the box does not know the cookie:
//
//   - It must be 64 random bits, made anew for each filter that is compiled. All bits
//     are compared at once, so a guess that has one half right takes as long as any other.
//   - The program cannot read its filter: PTRACE_SECCOMP_GET_FILTER needs CAP_SYS_ADMIN in
//     the first user namespace, and a tracer that has no filter itself (ptrace(2)).
//   - The register is cleared by execve, and the memory that held the cookie is replaced.
//   - The file that has the cookie in it must not be readable from within the box. A
//     process of an unreadable file is not dumpable either (prctl(2), PR_SET_DUMPABLE). So a
//     neighbour of the same user cannot see the register in /proc/PID/syscall.
//
// Whoever learned it could make these calls, and nothing else.
package seccomp
