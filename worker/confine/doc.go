// Package confine is what a worker does to itself: it removes rights that the process
// needed to start, and that no box can take from it for that reason. After Apply a
// process can move bytes between its descriptors, start and end its own threads, and
// exit. It cannot open a file, create or connect a socket, or start a program. It
// cannot inspect or signal another process, make memory executable, or gain privileges.
// An attacker who takes over a handler has only the client's connection, which is his
// own.
//
// Apply uses three mechanisms, each where the kernel has it. They apply to all threads
// of the process, with one exception (see Apply):
//
//   - no_new_privs (prctl(2)), which the others require.
//   - A seccomp filter (seccomp(2)). It allows the system calls of package worker, of
//     Go's runtime and of the C library's threads, only with the arguments that these
//     use.
//   - A Landlock domain without any rights (landlock(7)). It denies nothing that the
//     filter allows. It helps when the filter has a hole, or when a kernel has no
//     filter. In the default box of a built-in handler it is left out: that box denies
//     the same by another filter, and leaves no file, network or user in reach. The
//     domain is for where no such box is to be had, as for an ordinary user, or where the
//     configuration wants another one.
//
// A denied call fails with EPERM, or with EACCES where Landlock comes first, and the
// process continues. A new version of the runtime may try a new call. At worst it works
// without that call, and the client is served. The kernel writes denied calls to the
// audit log (types SECCOMP and LANDLOCK_ACCESS). A normal worker makes no such call, so
// an entry shows a fault. Only a call of another architecture's ABI ends the process.
//
// A missing part concerns the operator and not the client, who is served all the same.
// The report of the connection has it as the value ipc.ValueUnconfined. The master logs
// one warning per service.
//
// Apply is for programs whose handlers need only their connection, as the built-in
// handlers do. Call it at the start of main, so that a spare waits in confinement:
//
//	confined := confine.Apply(worker.IsSpare(), false)
//	worker.Serve(confined.Handler(serve))
//
// Nothing can be undone afterwards. No programs can be started later, because exec is
// denied.
package confine
