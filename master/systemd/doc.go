// Package systemd talks to the service manager that has started the master. It
// takes the sockets that the manager passes, and tells the manager the state of
// the master. It stores listeners with the manager for the next start.
//
// It owns the connection to the manager (Manager), what the manager was told of the
// master and when that is due again (Notifier), and the names of stored listeners. The
// protocols are sd_listen_fds(3) and sd_notify(3). It works with any manager
// that speaks them, and without a manager it does nothing. It never examines
// the sockets, which is the task of package listen. It knows when the manager is to
// hear of the master next, and never what there is to tell.
package systemd
