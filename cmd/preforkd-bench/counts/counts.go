package counts

import (
	"maps"
	"slices"
	"strings"
)

// Counts holds what was counted, by name. Names say what one unit is.
type Counts map[string]float64

// The names of the counts that are not system calls.
const (
	// Per connection.
	Allocations    = "allocations"     // objects on the heap of Go
	AllocatedBytes = "allocated bytes" // of these
	PageFaults     = "page faults"     // minor and major, of all threads
	Sleeps         = "sleeps"          // voluntary context switches: each is one wake-up later
	LogBytes       = "bytes of log"

	// What the load leaves behind, per connection.
	Descriptors = "descriptors kept"
	Goroutines  = "goroutines kept"

	// Of the process.
	Threads     = "threads"                  // after the load
	IdleSleeps  = "sleeps in an idle second" // of a master that has nothing to do
	callsPrefix = "calls "                   // per connection, and the name of the system call
	RuntimeCall = callsPrefix + "runtime"    // what the Go runtime calls by its own timing
	ChildCall   = callsPrefix + "in a child" // between its start and its exec, per child
)

// runtimeCalls are the system calls of the Go scheduler, its timers and its
// memory. How many there are depends on timing.
var runtimeCalls = []string{
	"futex", "nanosleep", "clock_nanosleep", "sched_yield", "epoll_pwait", "epoll_wait",
	"madvise", "mmap", "munmap", "mprotect", "prctl", "rt_sigreturn", "tgkill", "getpid", "gettid",
	"restart_syscall", "sigaltstack", "sched_getaffinity", threadCall, wakeCall,
}

// wakeCall stands for what wakes a thread that waits for events.
const wakeCall = "wake by eventfd"

// threadCall stands for the clone that makes a thread, not a child.
const threadCall = "clone of a thread"

// A margin is how far above the largest recorded count a limit is at least: so
// much, and a part of the count.
type margin struct{ least, part float64 }

// margins are chosen so that one more of anything in every connection is above
// the limit, as far as two runs of one build allow that. They are wide where the
// scheduler and the garbage collector decide: the scavenger of the Go runtime
// alone makes up to forty sleeps in an idle second, for a while.
var margins = map[string]margin{
	Allocations:    {1, 0.05},
	AllocatedBytes: {0, 0.3},
	PageFaults:     {0.75, 0.5},
	Sleeps:         {1, 0.5},
	LogBytes:       {4, 0.02},
	Descriptors:    {0.03, 0},
	Goroutines:     {0.03, 0},
	Threads:        {3, 0.2},
	IdleSleeps:     {30, 0},
	RuntimeCall:    {2, 0.5},
	ChildCall:      {0.25, 0},
}

// callMargin is of system calls that have no margin of their own.
var callMargin = margin{0.25, 0}

func marginOf(name string) margin {
	if m, ok := margins[name]; ok {
		return m
	}
	return callMargin
}

// names returns the names of counts: what is not a system call first.
func names(all ...Counts) []string {
	seen := make(map[string]bool)
	for _, c := range all {
		for name := range c {
			seen[name] = true
		}
	}
	return slices.SortedFunc(maps.Keys(seen), func(a, b string) int {
		if isCall(a) != isCall(b) {
			if isCall(a) {
				return 1
			}
			return -1
		}
		return strings.Compare(a, b)
	})
}

// callName returns the name under which a system call is counted.
func callName(call string) string {
	if slices.Contains(runtimeCalls, call) {
		return RuntimeCall
	}
	return callsPrefix + call
}

func isCall(name string) bool { return strings.HasPrefix(name, callsPrefix) }
