// Package process makes the system calls of a worker's life: it spawns through
// os/exec's ExtraFiles, reaps with wait4(-1, WNOHANG), and signals process
// groups.
//
// It keeps no table and no state of its own, so it does not know which pids
// are whose. A pid may be signalled only by the one goroutine that also reaps,
// and only until it has reaped it: afterwards the number may belong to anybody.
package process
