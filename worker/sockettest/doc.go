// Package sockettest makes connections for tests of workers and handlers. The server's
// end is a descriptor in blocking mode, as the master hands it over. The client's end
// is a net.Conn. Only tests import this package.
package sockettest
