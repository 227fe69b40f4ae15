// Package unit runs units of systemd as servers of the benchmark: on a machine
// that is booted for them (package nspawn) when the first one starts, in the
// network of the host, where the load comes from.
//
// The machine stays for the whole run, as booting it takes seconds; each
// measurement has a socket unit of its own. What such a server costs is what
// the machine costs: its pid 1, which accepts and starts and is the master,
// and everything below it, the journal included, which is told of each start
// and each end of a service. Nothing else is at work there: a measurement
// begins when the machine is at rest. The container is not for free, as every
// process in it has nspawn's filter of system calls, but that is small beside
// what starting a service costs.
package unit
