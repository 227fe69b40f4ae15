// Package boxview shows people what the box of a service is: every key with its
// value, the mechanism of the kernel that carries it out, and where the value comes
// from, and a score of what stays open to whoever takes over a connection. preforkd
// check --box prints it.
//
// The package looks at configurations and at what was found missing. It makes no
// box, and asks the kernel nothing.
//
// # Score
//
// The exposure of a box is the sum of the weights of what it leaves open, from 0
// (nothing) to 10 (everything). Each key that closes something has a weight, and a
// key that closes a part of it counts for the rest. The weights say how much a
// connection that has taken over its program gains by it: what lets it out of its
// process for good weighs most (privileges, system calls, the network, the files
// and processes of others), what only disturbs weighs least. Like every such number
// it compares boxes with each other, and proves nothing.
package boxview
