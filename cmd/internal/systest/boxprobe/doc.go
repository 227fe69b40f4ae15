// Command boxprobe tries to get out of the box that it is in. Process tests run it as
// the program of a service, without a box and in one, and as the worker binary in place of
// a built-in handler.
//
// Each line that it receives names an attempt and its arguments, separated by spaces. It
// answers each with one line: "did", and what it has seen, or "failed", the name of the
// errno and the whole error. It does the attempt for real, and undoes it where it would
// last. Where the real thing would harm the machine, it asks for something that the
// kernel refuses only after it has looked at permissions; the error tells how far it got.
package main
