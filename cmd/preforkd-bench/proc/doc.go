// Package proc starts the processes of a benchmark, ends them with everything
// that came of them, and reads what they cost: CPU time and memory.
//
// The benchmark makes itself a subreaper (prctl(2)), so whatever a server
// leaves behind becomes its child: it can be found, accounted and ended by
// pid, never by name. All processes of the benchmark are started here.
//
// How CPU time is counted. A server's own time is read from its process CPU
// clock (clock_getcpuclockid(3)), in nanoseconds, threads that have ended
// included. Its workers' time is the sum of what the server has reaped
// (cutime and cstime of proc_pid_stat(5), in ticks, rounded once per snapshot
// and not once per child), of the living descendants' clocks, and of the
// rusage of orphans that this process reaped itself. A snapshot before and one
// after the load, each taken when no worker is left, give the load's cost. It
// is not divided into user and kernel: with the usual tick accounting the
// kernel has no such division for a process that ends within a tick.
//
// Three things are outside: what a process costs after its parent has been
// told of its end, interrupts that hit while nobody's code runs, and the load
// generator. The machine's busy time less the generator's own is reported next
// to the sum, so that a server cannot hide costs in them.
package proc
