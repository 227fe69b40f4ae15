// Package listen owns listening sockets. It binds them, accepts connections
// from them, and removes the files that it has created when they close.
//
// It returns accepted connections as plain descriptors in blocking mode, which
// any program can inherit. It never wraps, reads or keeps a connection. It does
// not decide who may connect: it asks the caller for a slot before it takes a
// connection from the kernel.
//
// The sockets of many listeners can be kept in an Attic, where they cost a spawn
// nothing.
package listen
