// Package spawner starts every process that the master starts.
//
// A Spawner owns two things. It owns how many starts may be in progress, in all
// and for each program, because each of them may hold a thread for as long as a
// file system does not answer. And it owns the few threads whose umask and
// capabilities are not the master's: a child inherits both from the thread that
// forks it. All of these threads exist from the start of the master on, so
// neither a reload nor any number of listeners needs more.
//
// It does not decide what is started or when, and it keeps no table of what it
// has started.
package spawner
