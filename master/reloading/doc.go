// Package reloading holds which reloads of the configuration there are: the one that is
// under way, the one that waits, and who wants to know what becomes of them.
//
// A Queue is all of it, and the master's loop owns it. Reloads that were asked for while
// one is under way are one more reload after it, for they ask for what is in the file
// then. A reload that does not come to an end is overdue, and is given up for the next
// one. A service that is drained meanwhile is drained again after the reload.
//
// The package reads no configuration, compiles none and puts none in force: the master
// does, and tells the Queue when a reload has begun and ended.
package reloading
