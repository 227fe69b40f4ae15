// Package listen owns listening sockets: it binds them, accepts from them, and
// removes what it created in the file system when they close.
//
// Accepted connections leave as raw descriptors in blocking mode, ready to be
// inherited by any program; the package never wraps, reads, or keeps one. It
// does not decide who may connect: it asks for a slot before it takes a
// connection from the kernel, and who grants slots is the caller's business.
package listen
