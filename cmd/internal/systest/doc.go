// Package systest runs the real binaries for the process tests of this module.
//
// It owns what such a test starts: it builds preforkd and preforkd-worker once
// per test process, starts masters on ports the kernel chooses, reads their
// logs as typed events, and at the end of each test stops them and holds them
// to what every master promises: it exits with the right code, leaves no
// zombie and no descriptor behind, accounts for every accepted connection, and
// neither panics nor races.
//
// Everything in it waits for an event or for a state in /proc, with a deadline
// that only a broken program reaches, and never for time to pass. It holds no
// opinion on what a test is about, and it never touches a process that it or
// its masters did not start.
package systest
