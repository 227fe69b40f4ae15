// Package server knows the servers that are compared: how each is built or
// found, started and named. Most are a command line; some are units, which a
// systemd that is booted for them starts (package unit). The table in table.go
// is the place to add one.
//
// The programs of the benchmark's own, in testdata, are embedded and compiled
// when a run needs them, before it measures, with gcc -O2 -static and go build,
// so that they suit the machine and nothing needs to be installed but compilers.
//
// All servers listen on 127.0.0.1 at a port that is free, with a backlog of
// Backlog where they let one choose, without name lookups, and with no limit
// that the load could meet. What they print goes to a file, of units to their
// systemd's journal. Everything else is as they come.
package server
