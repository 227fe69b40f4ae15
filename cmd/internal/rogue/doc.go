// Command rogue is a worker that speaks the contract of package ipc by hand,
// and breaks it the way its arguments say. Process tests run it.
//
// The first argument is a path. The process that manages to remove it does what
// the other arguments say, one step after the other; every other one serves its
// connection as it should, and so does every one when the path is "-" and there
// are no steps. With steps and "-" all of them misbehave.
package main
