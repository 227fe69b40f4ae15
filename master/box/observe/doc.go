// Package observe answers for filters of system calls that tell of calls
// (seccomp_unotify(2)): it finds out which calls a box has denied, ends who made them
// if the box says so, and learns what programs use.
//
// One Observer serves all listeners of a master, with one epoll descriptor and one
// goroutine. A call waits until it is answered, so nothing here waits for anything else:
//
//	program                     Observer
//	  | --- call ---------------> |  the Subject of the listener judges it
//	  |                           |  it is noted, by the process and by the Learner
//	  | <-- goes on, or fails --- |  or the process is killed, and nothing is answered
//
// A call is judged by its number and its registers only, which nobody can change until
// it is answered: who interrupts the call has it judged anew. So an answer to let it
// go on opens nothing that the filter would deny.
//
// The package owns the listeners that it accepts. It starts no process, reaps none, and
// installs no filter.
package observe
