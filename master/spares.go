package master

import (
	"time"

	"github.com/preforkd/preforkd/master/logging"
)

// keepSpares starts spares for a service whenever its pool wants one, until
// the pool closes.
func (m *Master) keepSpares(s *service) {
	for !s.pool.isClosed() {
		start, wait := s.pool.begin(time.Now())
		if start {
			m.startSpare(s)
			continue
		}
		var over <-chan time.Time // for ever if nobody says otherwise
		if wait > 0 {
			over = time.After(wait)
		}
		select {
		case <-over:
		case <-s.pool.wake:
		case <-m.closing:
			return
		}
	}
}

// startSpare starts a worker without a connection and tells the loop.
func (m *Master) startSpare(s *service) {
	m.spawning.Add(1)
	w := &worker{service: s, watched: true, since: time.Now()}
	err := w.spawn(s.spare, nil, s.env, nil)
	if err != nil {
		s.pool.failed(time.Now(), true)
		s.log.Error(logging.EventSpawnFailed, logging.Reason("spare"), logging.Error(err))
	}
	m.spawns.add(spawn{w, err, time.Since(w.since)}, true)
}
