package ipc

// ArgumentBoxed follows the name of the handler on the command line of the worker binary
// when the master has started it in a box of which this is true: no system call that the
// box allows opens a file, makes a socket that could reach anybody, or executes a program,
// and no other network is there. Package confine leaves to the box then what the box does.
//
//	preforkd-worker HANDLER [boxed]
const ArgumentBoxed = "boxed"
