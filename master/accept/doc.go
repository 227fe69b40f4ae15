// Package accept takes connections from listeners, and admits or refuses them.
//
// An Acceptor owns the goroutines that accept, the connections whose PROXY
// header has not come yet, and the refused ones that linger. An admitted
// connection goes to the Dispatcher, on the goroutine that accepted it. The
// package touches nothing that the master's loop owns.
package accept
