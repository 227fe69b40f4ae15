// Package sockdiag asks the kernel about sockets, over netlink (sock_diag(7)):
// how many connections wait in the accept queue of a listener, and how many
// bytes have gone over a live TCP connection. It is the only way to learn that
// about a socket whose descriptor is elsewhere, in a worker, and it costs the
// worker nothing.
//
// # What it costs
//
// The kernel walks its tables of sockets and writes down those that were asked
// for, some 100 bytes for a listener and 500 for a connection. Listening walks
// the listeners of both families and all unix sockets; Connections the table of
// established connections, twice, of which the kernel itself leaves out those
// with other local ports. With few sockets that takes less than a millisecond
// (see the benchmarks), and it is the host's connections that it grows with. The
// answer is made while it is read, so no call waits for anything but the
// kernel's own work; one that takes longer than patience is given up.
//
// # What it needs
//
// No privilege: the kernel tells everybody what is asked for here (it keeps to
// itself, without CAP_NET_ADMIN, marks and filters of sockets). It sees the
// network namespace of the calling process only. The modules inet_diag, tcp_diag
// and unix_diag must be there, built in or loaded (the kernel loads them on
// demand, where it may), and address family AF_NETLINK must be allowed, for
// instance by RestrictAddressFamilies= of systemd. What is missing is an error,
// and what it is about is not known.
package sockdiag
