// Package calltrace traces the system calls of a running process and of the processes that
// it starts, and has one of them fail (ptrace(2)).
//
// strace(1) counts the calls of each thread for itself, and a program in Go makes the same
// call on another thread each time. Here whoever decides sees all calls in their order,
// with the process that makes them and how many programs that has executed.
package calltrace
