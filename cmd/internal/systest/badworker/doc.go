// Command badworker is a worker that implements the contract of package ipc by hand.
// Its arguments say how it breaks the contract. Process tests run it.
//
// The first argument is a path. The process that removes the file at this path executes
// the other arguments, one step after another. Every other process serves its
// connection correctly. With "-" as the path, every process executes the steps. Without
// steps, every process serves correctly.
package main
