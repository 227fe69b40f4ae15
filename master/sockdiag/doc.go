// Package sockdiag asks the kernel about sockets over netlink (sock_diag(7)).
// It asks how many connections wait in the queue of a listener, and how many
// bytes have gone over a live TCP connection. The descriptor of such a
// connection is in a worker. There is no other way to learn this about it, and
// it costs the worker nothing.
//
// The package owns the netlink socket of one request and the format of the
// messages. It keeps nothing between requests, and never changes a socket.
//
// # What it costs
//
// The kernel walks through its tables of sockets, and writes some 100 bytes for
// a listener and 500 for a connection. Listening walks through the listeners of
// both families and all unix sockets. Connections walks through the table of
// established connections twice, and the kernel leaves out those with other
// local ports. With few sockets that takes less than a millisecond (see the
// benchmarks). It grows with the number of connections of the host. The kernel
// makes the answer while it is read, so a call waits only for the kernel's own
// work. A call that takes longer than timeout fails.
//
// # What it needs
//
// It needs no privilege. The kernel tells everybody what this package asks for.
// (It tells only processes with CAP_NET_ADMIN the marks and filters of
// sockets.) The package sees only the network namespace of the calling process.
// The kernel must have the modules inet_diag, tcp_diag and unix_diag, built in
// or loaded. It loads them on demand where it may. The address family
// AF_NETLINK must be allowed, for instance by systemd's
// RestrictAddressFamilies=. If something is missing, the call returns an error,
// and the figures are unknown.
package sockdiag
