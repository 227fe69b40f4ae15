package load

// Sources are addresses of the loopback that connections start from, in turn.
// One generator at a time uses them. They go on where the last one has stopped.
type Sources struct {
	count int
	addr  func(int) [4]byte
	next  int
}

// NewSources returns count sources; addr is called with numbers from 0 to less
// than count.
func NewSources(count int, addr func(int) [4]byte) *Sources {
	return &Sources{count: count, addr: addr}
}

// Count returns how many sources there are.
func (s *Sources) Count() int { return s.count }

// take returns the next source.
func (s *Sources) take() [4]byte {
	a := s.addr(s.next)
	s.next = (s.next + 1) % s.count
	return a
}

// ordinary is how many addresses connections start from, unless sources are
// what is measured: 127.1.0.1 and up. At 60 addresses and 28,000 ports each, a
// minute of TIME_WAIT at 20,000 connections per second leaves most ports free,
// so finding one stays cheap.
const ordinary = 60

func ordinarySources() *Sources {
	return NewSources(ordinary, func(i int) [4]byte { return [4]byte{127, 1, 0, byte(i + 1)} })
}
