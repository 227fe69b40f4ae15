// Package systemd talks to the service manager that has started the master. It
// takes the sockets that the manager passes, and tells the manager the state of
// the master. It stores listeners with the manager for the next start.
//
// It owns the connection to the manager and the names of stored listeners. The
// protocols are sd_listen_fds(3) and sd_notify(3). It works with any manager
// that speaks them, and without a manager it does nothing. It never examines
// the sockets, which is the task of package listen. It never decides when to
// tell the manager something.
package systemd
