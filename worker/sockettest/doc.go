// Package sockettest makes the connections that tests of workers and handlers
// serve: the server's end is a bare descriptor in blocking mode, as the master
// hands it over, and the client's end is a net.Conn. It belongs to tests and
// is linked into no program.
package sockettest
