// Package fdpark keeps open descriptors out of the table that fork copies.
//
// A child process is born with a copy of its parent's descriptor table, and its
// exec closes every descriptor with FD_CLOEXEC. With a few descriptors that
// costs nothing. With 10,000 it takes ten times as long as the rest of starting
// a program. But a thread can have a descriptor table of its own (unshare(2),
// CLONE_FILES). A child gets the table of the thread that forks it.
//
// A Thread has such a table and never forks. A descriptor that was parked has a
// number that is valid only inside Do. Lend and Use copy it for a use elsewhere.
// The table has a RLIMIT_NOFILE of its own.
//
// The package owns the parked descriptors until they are closed inside Do,
// taken back, or closed by Close. It does not know what they are, and it never
// reads from them or writes to them.
package fdpark
