// Package stderr takes in what workers write to fd 2, so that nobody who reads
// the log, or has stopped reading it, can hold a worker up or end it.
//
// A write to a pipe or a socket whose reader is dead ends a program by SIGPIPE
// (pipe(7)), and one whose reader has stopped keeps it waiting for ever. So fd 2
// of workers is the master's own stderr only where that is a terminal or another
// device. Elsewhere it is a Relay: the master reads it, always, and passes the
// lines on through its log, which never waits.
//
// A Relay is one socket for all workers of a kind, so a worker that writes
// nothing costs nothing. The kernel says which process has sent each piece
// (SCM_CREDENTIALS, unix(7)). So the Relay also remembers the last lines of each
// worker, for the event of a worker that fails.
//
// # Why a socket, and which
//
// A pipe tells nobody who has written. A pipe for each worker would tell, at the
// price of a descriptor of the master for each live worker, which every spawn
// has to copy. The socket is a SOCK_SEQPACKET pair:
//
//   - A write to it never raises SIGPIPE. When the master is gone, writes fail,
//     and the workers live on.
//   - Workers share their end. They cannot connect it to somewhere else, as they
//     could a datagram socket, nor read from it what others write, as they could
//     by opening /proc/self/fd/2 of a pipe. A worker can shut it down for all
//     others that have it; then the Relay gets a new one for those to come, and
//     says so.
//
// A socket cannot be opened by the name /dev/stderr. The same is true under
// inetd, xinetd and systemd, where fd 2 is a socket, too. A write of more bytes
// than net.core.wmem_default fails with EMSGSIZE.
//
// The package owns the sockets, the lines that are not complete yet, and the
// last lines. It knows no service and no connection.
package stderr
