// Package counts counts what a master does for one connection: system calls by
// name, sleeps, page faults, allocations, bytes of log, and what it keeps
// afterwards: threads, descriptors, goroutines. A count does not depend on how
// fast the machine is, so it can be compared with a number that was recorded on
// another one. Package counts knows nothing of preforkd but what its log and its
// metrics look like.
//
// How a subject is counted. It starts with GOMAXPROCS=2, whatever the machine
// has. One client makes one connection at a time: it connects, sends a message,
// receives the echo, closes, and waits until the log says that the connection
// is over. So no two connections share work, and two runs of one build count
// nearly the same. There are two passes on one start. The first reads /proc
// and the metrics before and after the load. The second, shorter, attaches
// strace(1) to the master and lets go of each child at its exec.
//
// What is not counted exactly. The Go scheduler and the garbage collector make
// system calls when their timing asks for it: futex, nanosleep, epoll_pwait,
// madvise and the like. These are one count, "calls runtime", with a wide limit.
// Involuntary context switches belong to the machine and are not counted. A
// sleep shows in no count; ratios of times find it.
//
// How limits are found. Record counts each subject several times: twice alone,
// beside programs that do nothing but compute, and on a single processor. The
// recorded value is the median. The limit is the largest of these counts, and
// above it half of their spread, or the count's margin (see margins) where that
// is more. Two runs of one build have the same number of every system call by
// name, to a hundredth; the margin of a quarter is for another machine, and one
// call more in each connection is far above it. The counts of the runtime differ
// by a third or more, and only a large loss is above their limit. With one and
// with four threads that run Go code every system call by name is the same, too;
// only the number of threads is another.
//
// A count above its limit is counted again and fails when it is above each
// time. A count below the recorded value never fails: record it again, or the
// improvement is not guarded.
package counts
