// Package systemd speaks with the service manager that started the master: it
// takes over the sockets that were passed, says how far the master has come,
// and leaves listeners with the manager for the next start.
//
// The protocols are sd_listen_fds(3) and sd_notify(3); any manager that speaks
// them will do, and without one everything here does nothing. The package does
// not look into sockets, that is listen's, and does not decide when to say
// what, that is the master's.
package systemd
