// Package fault makes an upgrade in place fail where a test wants it to.
//
// Code that takes part in an upgrade calls At at the beginning of every step. In the
// program as it is built for users, At does nothing. In one that is built with the tag
// upgradefault, At reads a file beside the program, which names a step and what happens
// there. A file and no variable, because a test has to choose anew for a program that
// runs, and because an upgrade passes the environment on.
//
// The package knows nothing of upgrades.
package fault
