package reloading

// What is not carried: the reload under way and the one that waits, with who waits for
// them and which drains they are not to undo, because no upgrade begins before they have
// ended; and a reload that was given up, which ends with the process's threads.

// A State is a Queue in the state that a master hands to the next one.
type State struct {
	Failure string `json:"failure,omitempty"` // why the last reload has changed nothing
}

// Export returns the state of the queue.
func (q *Queue) Export() State { return State{q.failure} }

// Restore returns a Queue of reloads of a file, with "" of none, which knows what another
// one has known.
func Restore(s *State, path string) *Queue {
	q := New(path)
	q.failure = s.Failure
	return q
}
