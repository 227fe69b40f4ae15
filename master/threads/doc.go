// Package threads makes sure that a Go program gets the operating-system threads
// that it will need, or ends in order when it does not.
//
// Go makes a thread when it needs one, and ends the whole process with a dump of
// all goroutines when the system refuses. So the number of threads must have a
// bound, whether the system grants them must be known before they are made, and
// they must be made before others take what is left. Reserve does the two last
// things.
package threads
