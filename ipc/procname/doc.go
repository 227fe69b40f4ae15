// Package procname names a process that was executed by the descriptor of its file. The
// kernel takes the name of a process from the last part of the path (comm,
// proc_pid_comm(5)). In /proc/self/fd/12 that is a number, which says nothing to anybody
// who reads a list of processes.
//
// The package is for the main functions of both sides. It changes nothing but that name.
package procname
