// Package oomscore reads and sets how much the kernel prefers a process when
// memory is short and it has to kill one (oom_score_adj, proc_pid_oom_score_adj(5)).
// The adjustment is inherited by every child, and a service manager lowers it for
// the master's sake and not for the workers'.
package oomscore
