// Package confine takes away from a worker what it does not need: after Apply
// a process can move bytes between the descriptors that it has, start and end
// threads of its own, and exit. It cannot open a file, create a socket or
// connect one, start a program, look into or signal another process, make
// memory executable, or gain privileges. A stranger who takes over a handler
// has the client's connection, which is his own, and nothing else.
//
// Three means are used, each where the kernel has it, and for all threads of
// the process (with one exception, see Apply):
//
//   - no_new_privs (prctl(2)), which the others require.
//   - A seccomp filter (seccomp(2)) that lets through the system calls of
//     package worker, of Go's runtime and of the C library's threads, and
//     these with such arguments only as they use.
//   - A Landlock domain without any rights (landlock(7)). It denies nothing
//     that the filter lets through; it is there for the day when the filter
//     has a hole, or a kernel has no filter.
//
// A call that is denied fails with EPERM, or with EACCES where Landlock was
// first, and the process lives on: an upgrade of the runtime that tries
// something new at worst does without it, and the client is served. The kernel
// writes denied calls to the audit log (type SECCOMP, and LANDLOCK_ACCESS),
// where they say that something is wrong: in order, a worker makes none. Only a
// call in the manner of another architecture ends the process.
//
// What is missing is a matter for the operator and not for the client, who is
// served all the same. It stands in the report of the connection, as the value
// ipc.ValueUnconfined; the master warns of it once for a service.
//
// Apply is for programs whose handlers get along with their connection, as the
// built-in ones do. It is called at the start of main, so that a spare waits
// in confinement:
//
//	confined := confine.Apply(worker.IsSpare())
//	worker.Serve(confined.Handler(serve))
//
// Nothing can be taken back afterwards, and programs that are
// started later cannot be: exec is denied.
package confine
