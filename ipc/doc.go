// Package ipc is the contract between the master and its workers. It defines the file
// descriptors that a worker holds and the environment variables that it sees. It
// defines the messages on the control channel and the meaning of exit codes.
//
// Both sides import this package and neither side owns it. The package therefore only
// names, encodes, decodes, sends and receives single messages. It never starts a
// process and takes no decisions. It never closes a descriptor that it was given.
//
// The whole import graph of a worker costs start time on every connection. This package
// therefore imports only small packages of the standard library and x/sys. A test fails
// when that changes.
package ipc
