// Package process makes the system calls of a worker's life. It starts the
// process through os/exec's ExtraFiles, reaps it with wait4, signals its
// process group, and reads what it uses. It also undoes what the master has
// inherited and its workers must not inherit, and keeps the files of worker binaries.
//
// The package keeps no table of processes, so it does not know which pid is whose. A pid may
// be signalled only by the goroutine that also reaps, and only until that
// goroutine has reaped it. Afterwards another process may have the number. The
// package never decides when to start, signal or reap.
package process
