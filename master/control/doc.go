// Package control is how people and programs look into a running master and act
// on it. It has the server and the client of the control socket, which speaks
// HTTP and JSON over a unix socket.
//
// It owns the socket, the rules of who may do what over it, and the form of
// requests and answers. The content of the answers comes from the master
// through an interface, as a copy. The package never touches the master's
// state, and never makes the master's loop wait for a client.
package control
