// Package box runs the workers of a service in isolation: it joins what its
// sub-packages know of mounts, system calls, user ids and the first steps of a
// process to boxes, and starts processes in them.
//
// A Box is what the services share whose configurations of it are equal: a
// template of mounts, a network namespace, a filter of system calls. It is made
// once. A cell is what one process has for itself while it lives: a pid namespace,
// a copy of the mounts with a /tmp of its own, a user id. A cell is prepared ahead
// and, if nothing is left in it, handed out again.
//
// Nothing of a box is a state of the threads that start processes. A thread enters
// a cell, forks, and leaves it:
//
//	Box.Start   an idle cell, or a new one
//	            setns into the cell, fork and exec of the entry, setns back
//	entry       limits, capabilities, filter, exec of the program (package stub)
//	Cell.Leave  the process was reaped: what is left in the cell ends
//	janitor     whether the cell is as new: it is idle again, or ends
//
// When another master takes over (package carry), the cells of live workers go over to it
// and work to their end: Pause, Export and ExportCell, then Restore, RestoreCell and Resume.
// Boxes are made anew.
//
// The Manager owns all boxes, cells and their descriptors. It reaps nothing: the
// master's loop passes it the exits of the first processes of the cells. The
// package decides neither whom to serve nor when a worker is to end.
package box
