// Command preforkd-worker is the program that built-in handlers run in. The
// master starts it once for every connection; it is of no use by hand.
//
//	preforkd-worker HANDLER
//
// It is slim on purpose: every connection pays for starting and ending it, so
// nothing is linked in that a handler does not need. A test lists what it may
// not import.
package main
