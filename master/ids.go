package master

import (
	"strconv"
	"sync/atomic"
	"time"
)

// An idSource makes the ids of connections: the master's start in milliseconds
// since the epoch, in base 36, and a running number. So an id is unique over
// any number of restarts (but for two masters started in the same millisecond),
// sorts by time within one master, and is short enough for people.
type idSource struct {
	prefix string
	last   atomic.Uint64
}

func (s *idSource) init(start time.Time) {
	s.prefix = strconv.FormatInt(start.UnixMilli(), 36) + "-"
}

func (s *idSource) next() string {
	return s.prefix + strconv.FormatUint(s.last.Add(1), 10)
}
