package proxy

import (
	"fmt"
	"time"
)

// A ReaderState is a Reader in the state that a master hands to the next one, without its
// connection.
type ReaderState struct {
	Length int    `json:"length"` // of the header, 0 while it is not known
	Taken  []byte `json:"taken"`  // what was taken of it
	Seen   int    `json:"seen"`   // bytes that have come
}

// Pause interrupts Read, with ErrPaused, until Resume. It may be called at any time before
// Close.
func (r *Reader) Pause() {
	r.paused.Store(true)
	r.file.SetReadDeadline(time.Unix(1, 0))
}

// Resume lets Read wait again. It is called when Read has returned.
func (r *Reader) Resume() { r.paused.Store(false) }

// Export returns the state of a reader that is paused, and whose Read has returned.
func (r *Reader) Export() ReaderState {
	s := ReaderState{Length: r.length, Seen: r.seen}
	if r.length > 0 {
		s.Taken = append([]byte{}, r.buffer...)
	}
	return s
}

// Check returns why the state cannot be one of a reader, or nil.
func (s *ReaderState) Check() error {
	if s.Length < 0 || s.Length > MaxHeader || len(s.Taken) > s.Length || s.Seen < len(s.Taken) || s.Seen > MaxHeader {
		return fmt.Errorf("a PROXY header of %d bytes, of which %d have come and %d were taken", s.Length, s.Seen, len(s.Taken))
	}
	return nil
}

// Restore makes the reader go on where the one was that the state is of, which Check has
// found nothing wrong with. It comes before Read. The error is ErrNoMemory.
func (r *Reader) Restore(s *ReaderState) error {
	claim := max(len(s.Taken)-freeBuffer, 0)
	if !r.budget.claim(claim) {
		return fmt.Errorf("%w of %d bytes: others that are incomplete take all %d bytes", ErrNoMemory, s.Length, r.budget.limit)
	}
	r.claimed = claim
	r.length, r.seen = s.Length, s.Seen
	if s.Length > 0 {
		r.buffer = append(make([]byte, 0, max(len(s.Taken), firstBuffer)), s.Taken...)
	}
	return nil
}
