// Package attic keeps open files out of the way of those that fork.
//
// A child is born with a copy of its parent's table of descriptors and closes
// at its exec what has FD_CLOEXEC. With a handful of descriptors that is
// nothing; with 10,000 it takes ten times as long as all the rest of starting a
// program. But a table belongs to a thread that has asked for one of its own
// (unshare(2), CLONE_FILES), and a child gets that of the thread that forks it.
//
// An attic is a thread with such a table, which forks nothing. What is put
// there has a number that means something there only, and is used there, by Do.
// It counts against RLIMIT_NOFILE separately.
//
// It owns what was put into it, until that is closed there or the attic is.
package attic
