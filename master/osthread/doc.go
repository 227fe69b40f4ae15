// Package osthread provides operating-system threads that have kernel state of
// their own: a table of descriptors, a umask, a namespace.
//
// Linux keeps such state for each thread, and unshare(2) separates it from the
// state that the other threads share. A child process gets a copy of the state
// of the thread that forks it. So a thread can start processes, or hold
// descriptors, that differ from those of the rest of the program.
//
// The package owns the thread and the order of the calls on it. It never
// returns such a thread to the Go scheduler: a goroutine that ran there later
// would see the wrong state. It does not know what the state is, but for two parts. One
// is the mask of signals, which is empty. The other is the timer slack, which it changes
// for the monitor of Go's runtime, if need be by executing the program again, and gives to
// no other thread. A process that is started has what its starter says.
package osthread
