package service

import (
	"strconv"
	"sync/atomic"
	"time"
)

// IDs makes the ids of connections: the master's start in milliseconds since
// the epoch, in base 36, and a running number. So an id is unique over any
// number of restarts (but for two masters started in the same millisecond),
// sorts by time within one master, and is short enough for people. Any
// goroutine may use it.
type IDs struct {
	prefix string
	last   atomic.Uint64
}

// NewIDs returns the ids of a master that was started then.
func NewIDs(start time.Time) *IDs {
	return &IDs{prefix: strconv.FormatInt(start.UnixMilli(), 36) + "-"}
}

// Next returns an id that was not returned before.
func (s *IDs) Next() string {
	return s.prefix + strconv.FormatUint(s.last.Add(1), 10)
}
