// Package control is how people and programs look into a running master and
// act on it: the control socket, HTTP and JSON over a unix socket, its server
// and its client.
//
// It owns the socket, who may do what over it, and the form of what is said.
// What is said comes from the master through an interface, as a snapshot; the
// package never touches the master's state and never makes its loop wait for a
// client.
package control
