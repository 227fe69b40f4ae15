// Package stub makes the two smallest programs of a box: Entry, which a worker
// is before it becomes its program, and Init, which is pid 1 of a cell.
//
// Both are machine code that is put together at run time, for amd64 and arm64:
// a row of system calls in an executable of a page or two. There is no libc, no
// loader and no relocation, and all that differs between two services is a
// constant in the image. So executing one costs little more than execve(2)
// itself, and nothing is read, parsed or allocated between fork and the program.
//
// The package owns the images, what the two programs do in which order, and
// what they say to the master. It never starts them, holds no descriptor, and
// knows nothing of services: which calls a filter allows and which mounts a cell
// has is decided by its callers.
//
// Entry says something when a step has failed, in one datagram:
//
//	master                      entry
//	  |                           |  limits, capabilities, filter ...
//	  |                           |  execve: the report descriptor closes
//	  | <-- {step, errno} ------- |  or: a failure, then exit with ExitFailed
//
// With Entry.Listener there is one more before execve, with the listener of the filter in
// its control message (SCM_RIGHTS, unix(7)):
//
//	| <-- {0, number} --------- |
//
// Init has a control socket (SOCK_SEQPACKET), one message at a time:
//
//	master                      init
//	  |                           |  host name, mounts, SIGCHLD, descriptors
//	  | <-- ready --------------- |  or: {step, errno}, then exit with ExitFailed
//	  | --- RequestCheck -------> |
//	  | <-- not empty, or Seen -- |  what a process has left behind
//	  | --- RequestKill --------> |  kills until nothing is left, for 5 s at most
//	  | <-- empty or not -------- |
//	  | --- end of file --------> |  exits; all in its pid namespace is killed
package stub
