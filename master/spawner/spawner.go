package spawner

import (
	"os"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/logging"
	"github.com/preforkd/preforkd/master/process"
)

// A Config is what a Spawner needs.
type Config struct {
	Log *zap.Logger
	// Stopping is closed when the master stops: starts that wait behind others
	// that hang are then given up. Nil stands for never.
	Stopping <-chan struct{}
}

// A Spawner starts processes. Any goroutine may use it.
type Spawner struct {
	limiter *limiter
	threads *threads
	// allOnThreads says that the master has capabilities that an exec hands on.
	// Then no child may be forked by an ordinary thread.
	allOnThreads bool
	log          *zap.Logger
	oomWarned    atomic.Bool // the last adjustment of an OOM score has failed, and the log says so
}

// New makes a Spawner and its threads. The caller must call Close.
func New(cfg Config) (*Spawner, error) {
	threads, err := newThreads()
	if err != nil {
		return nil, err
	}
	return &Spawner{
		limiter: newLimiter(share(), cfg.Stopping, func(s Stall, over bool) {
			program, starts := zap.String("program", s.Program), zap.Int("starts", s.Starts)
			if over {
				cfg.Log.Info(logging.EventSpawnResumed, program)
				return
			}
			cfg.Log.Warn(logging.EventSpawnStalled, program, starts)
		}),
		threads:      threads,
		allOnThreads: process.InheritsCapabilities(),
		log:          cfg.Log,
	}, nil
}

// Threads returns how many threads Spawners of this process hold at most: those
// of starts that wait in a system call, and those with a state of their own.
func Threads() int { return share()*programsAtOnce + kinds*threadsOfKind }

// Start starts a process, as process.Command.Start does. It may wait for other
// starts to return. A goroutine that waits holds no thread.
//
// The error wraps ErrStalled when the master stops while Start waits.
func (s *Spawner) Start(c *process.Command, conn *os.File, env []string, message []byte) (child *process.Child, err error) {
	start, err := s.limiter.begin(c.Path)
	if err != nil {
		return nil, err
	}
	defer s.limiter.end(start)
	c.ReadAhead()
	if s.allOnThreads || c.Umask != nil || c.Box != nil {
		child, err = s.threads.start(c, conn, env, message)
	} else {
		child, err = c.Start(conn, env, message)
	}
	if child != nil && c.OOMScoreAdjust != nil {
		s.adjustOOMScore(c, child)
	}
	return child, err
}

// Do runs f on a thread that has a file system state of its own, as those have that
// start processes in a box.
func (s *Spawner) Do(f func() error) error {
	return s.threads.do(&s.threads.own, func(*thread) error { return f() })
}

// DoBare is Do on a thread whose children never get a capability.
func (s *Spawner) DoBare(f func() error) error {
	return s.threads.do(&s.threads.bare, func(*thread) error { return f() })
}

// UmaskError returns why no process can have a umask of its own, or nil.
func (s *Spawner) UmaskError() error { return s.threads.umaskErr }

// Stalled returns the programs of which starts hang.
func (s *Spawner) Stalled() []Stall { return s.limiter.stalled() }

// Close ends the threads. No Start may be in progress that uses one of them.
func (s *Spawner) Close() {
	s.limiter.close()
	s.threads.close()
}
