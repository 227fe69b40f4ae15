package control

import "time"

// A Status is one look at a master. Its JSON form is what `preforkd status
// --json` prints and GET /v1/status answers; names are only ever added to it.
// Durations are seconds, sizes bytes, times RFC 3339.
type Status struct {
	Taken       time.Time    `json:"taken"` // when the look was taken
	Master      Master       `json:"master"`
	Services    []Service    `json:"services"`    // in the order of the configuration
	Connections []Connection `json:"connections"` // the oldest first
}

// A Master is the master process itself.
type Master struct {
	Version   string    `json:"version"`
	PID       int       `json:"pid"`
	Started   time.Time `json:"started"`
	Uptime    float64   `json:"uptime"`
	State     string    `json:"state"` // serving, draining, terminating or killing
	LogLevel  string    `json:"log_level"`
	Config    string    `json:"config,omitempty"` // the file, if it came from one
	Live      uint64    `json:"live"`
	Counts              // of all services that there are and were
	UserTime  float64   `json:"user_time"` // CPU of the master, without its workers'
	SysTime   float64   `json:"sys_time"`
	RSS       uint64    `json:"rss"`
	OpenFiles int       `json:"open_files"`
	Problems  []Problem `json:"problems"` // why it is degraded; empty when it is not
}

// A Problem is a reason for which a master that serves is degraded.
type Problem struct {
	Service string `json:"service,omitempty"`
	Reason  string `json:"reason"`
}

// Counts add up: accepted = refused + failed + reaped + live.
type Counts struct {
	Accepted uint64 `json:"accepted"`
	Refused  uint64 `json:"refused"`
	Failed   uint64 `json:"failed"`
	Reaped   uint64 `json:"reaped"` // served to the end
}

// A Service is one service.
type Service struct {
	Name    string `json:"name"`
	Handler string `json:"handler"` // a built-in handler's name, or the program
	Handoff string `json:"handoff"`
	State   string `json:"state"` // serving, draining or drained
	Live    uint64 `json:"live"`
	Limit   int    `json:"limit"` // slots
	Slots   int    `json:"slots"` // taken
	Counts
	RefusedByReason map[string]uint64 `json:"refused_by_reason"` // reasons that there were
	FailedByCause   map[string]uint64 `json:"failed_by_cause"`   // causes that there were
	Spares          *Spares           `json:"spares,omitempty"`  // of a service that keeps some
	Sources         int               `json:"sources"`           // that something is remembered of
	Penalized       int               `json:"penalized"`
	SpawnLatency    *Latency          `json:"spawn_latency,omitempty"` // once there was a spawn
	// HandoverLatency is from the assignment of a connection to a spare's word
	// that it has it; absent until there was one.
	HandoverLatency *Latency   `json:"handover_latency,omitempty"`
	Work            Work       `json:"work"`
	Listeners       []Listener `json:"listeners"`
}

// Spares are the workers that wait for connections.
type Spares struct {
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Min      int `json:"min"`
	Max      int `json:"max"`
}

// A Latency tells how long something took, in seconds.
type Latency struct {
	Histogram         // by LatencyBounds
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
}

// A Histogram says how many values there were, and their sum.
type Histogram struct {
	Count uint64  `json:"count"`
	Sum   float64 `json:"sum"`
	// Buckets count those that were no more than each bound, the smaller ones
	// among them. They are for metrics, and not part of the JSON; nil when
	// there was no value.
	Buckets []uint64 `json:"-"`
}

// The upper bounds of the buckets: of latencies and durations in seconds, of
// memory in bytes.
var (
	LatencyBounds  = []float64{0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	DurationBounds = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}
	MemoryBounds   = []float64{1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30}
)

// Work is what the workers of a service have done and used that have ended,
// spares among them.
type Work struct {
	Exits     []Exit    `json:"exits"`     // ways in which there were
	Durations Histogram `json:"durations"` // of connections, in seconds
	MaxRSS    Histogram `json:"max_rss"`
	BytesIn   uint64    `json:"bytes_in"` // that workers have reported
	BytesOut  uint64    `json:"bytes_out"`
	UserTime  float64   `json:"user_time"`
	SysTime   float64   `json:"sys_time"`
}

// An Exit is a way in which workers have ended, either by a code or by a signal.
type Exit struct {
	Code   *int   `json:"code,omitempty"`
	Signal string `json:"signal,omitempty"`
	Count  uint64 `json:"count"`
}

// A Listener is a listening socket.
type Listener struct {
	Local string `json:"local"`
	// Queue is how many connections wait to be accepted, Backlog how many may;
	// both absent where the kernel does not tell.
	Queue   *int `json:"queue,omitempty"`
	Backlog *int `json:"backlog,omitempty"`
}

// A Connection is a live connection and the worker that serves it.
type Connection struct {
	ID      string    `json:"id"`
	Service string    `json:"service"`
	PID     int       `json:"pid"`
	Peer    string    `json:"peer"` // as far as log-peer lets it be known
	Local   string    `json:"local"`
	Via     string    `json:"via,omitempty"`
	State   string    `json:"state"` // assigned, serving, ending
	Since   time.Time `json:"accepted"`
	Age     float64   `json:"age"`
	// CPU is user and system time of the worker process so far, RSS what it
	// has resident; absent when the process is gone or could not be read.
	CPU *float64 `json:"cpu,omitempty"`
	RSS *uint64  `json:"rss,omitempty"`
	// BytesIn and BytesOut are what the kernel has received from and delivered
	// to the peer; absent for unix sockets, of which it keeps no account.
	BytesIn  *uint64 `json:"bytes_in,omitempty"`
	BytesOut *uint64 `json:"bytes_out,omitempty"`
}
