package control

import "time"

// A Status is the state of a master at one moment. `preforkd status --json`
// prints it and GET /v1/status answers it as JSON. New names may be added to
// the JSON; names that are there stay. Durations are in seconds, sizes in
// bytes, and times as in RFC 3339.
type Status struct {
	Taken       time.Time    `json:"taken"` // the moment
	Master      Master       `json:"master"`
	Services    []Service    `json:"services"`    // in the order of the configuration
	Connections []Connection `json:"connections"` // the oldest first
}

// A Master is the master process itself.
type Master struct {
	Version string `json:"version"`
	// Generation is 1 for the program that the process was started with, and 1 more
	// for each that has taken over.
	Generation int       `json:"generation"`
	Upgrades   Upgrades  `json:"upgrades"`
	PID        int       `json:"pid"`
	Started    time.Time `json:"started"`
	Uptime     float64   `json:"uptime"`
	State      string    `json:"state"` // serving, draining, terminating or killing
	LogLevel   string    `json:"log_level"`
	Config     string    `json:"config,omitempty"` // the path of the file, if there is one
	// NotReloaded is why the last reload has changed nothing, if it has not.
	NotReloaded string    `json:"not_reloaded,omitempty"`
	Live        uint64    `json:"live"`
	Counts                // of all services, those that were removed included
	UserTime    float64   `json:"user_time"` // CPU time of the master, without its workers
	SysTime     float64   `json:"sys_time"`
	RSS         uint64    `json:"rss"`
	OpenFiles   int       `json:"open_files"`
	Problems    []Problem `json:"problems"` // why the master is degraded; empty when it is not
}

// A Problem is a reason why a master that serves is degraded.
type Problem struct {
	Service string `json:"service,omitempty"`
	Reason  string `json:"reason"`
}

// Counts are totals of connections: accepted = refused + failed + reaped +
// live.
type Counts struct {
	Accepted uint64 `json:"accepted"`
	Refused  uint64 `json:"refused"`
	Failed   uint64 `json:"failed"`
	Reaped   uint64 `json:"reaped"` // served to the end
}

// A Service is the state of one service.
type Service struct {
	Name    string `json:"name"`
	Handler string `json:"handler"` // a built-in handler's name, or the program
	Handoff string `json:"handoff"`
	State   string `json:"state"` // serving, draining or drained
	Live    uint64 `json:"live"`
	Limit   int    `json:"limit"` // the number of slots
	Slots   int    `json:"slots"` // the number of slots in use
	Counts
	RefusedByReason map[string]uint64 `json:"refused_by_reason"` // only reasons that have occurred
	FailedByCause   map[string]uint64 `json:"failed_by_cause"`   // only causes that have occurred
	Spares          *Spares           `json:"spares,omitempty"`  // nil if the service keeps none
	// FullSince is when the service became full with clients that wait for a slot
	// or are turned away. It is nil if it is not. FullSeconds is how long it has
	// been so altogether.
	FullSince    *time.Time `json:"full_since,omitempty"`
	FullSeconds  float64    `json:"full_seconds"`
	Sources      int        `json:"sources"` // the number of sources in memory
	Penalized    int        `json:"penalized"`
	SpawnLatency *Latency   `json:"spawn_latency,omitempty"` // nil until the first spawn
	// HandoverLatency is the time from the assignment of a connection to the
	// spare's message that it has the connection. It is nil until the first
	// one.
	HandoverLatency *Latency   `json:"handover_latency,omitempty"`
	Work            Work       `json:"work"`
	Listeners       []Listener `json:"listeners"`
	// Box is what workers run in. It is nil if the configuration asks for none.
	Box *Box `json:"box,omitempty"`
}

// A Box is what the workers of a service run in.
type Box struct {
	Summary string       `json:"summary"` // the preset and what differs from it, as configured
	Missing []MissingKey `json:"missing"` // optional keys that this machine cannot give
}

// A MissingKey is an optional key of a box that a machine cannot give.
type MissingKey struct {
	Key    string `json:"key"`
	Reason string `json:"reason"` // what it needs, and what would give it
}

// Spares are the workers that wait for a connection.
type Spares struct {
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Min      int `json:"min"`
	Max      int `json:"max"`
}

// A Latency is a distribution of times, in seconds.
type Latency struct {
	Histogram         // with LatencyBounds
	P50       float64 `json:"p50"`
	P99       float64 `json:"p99"`
}

// A Histogram is the number of values and their sum.
type Histogram struct {
	Count uint64  `json:"count"`
	Sum   float64 `json:"sum"`
	// Buckets says for each bound how many values are not larger than the
	// bound. It is for metrics and not part of the JSON. It is nil when there
	// is no value.
	Buckets []uint64 `json:"-"`
}

// The upper bounds of the buckets. Latencies and durations are in seconds,
// memory is in bytes.
var (
	LatencyBounds  = []float64{0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}
	DurationBounds = []float64{0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 6 * 3600, 24 * 3600}
	MemoryBounds   = []float64{1 << 20, 4 << 20, 16 << 20, 64 << 20, 256 << 20, 1 << 30, 4 << 30}
)

// Work is what the workers of a service that have ended have done and used. It
// includes spares.
type Work struct {
	Exits     []Exit    `json:"exits"`     // only kinds that have occurred
	Durations Histogram `json:"durations"` // of connections, in seconds
	MaxRSS    Histogram `json:"max_rss"`
	BytesIn   uint64    `json:"bytes_in"` // as workers have reported
	BytesOut  uint64    `json:"bytes_out"`
	UserTime  float64   `json:"user_time"`
	SysTime   float64   `json:"sys_time"`
	Leftovers uint64    `json:"leftovers"` // processes that workers had left behind, and that were ended
	// Limits is how many connections have met a limit of their box: memory, tasks, cpu,
	// runtime, file-size, or denied, which is a system call. It has only those that
	// were met.
	Limits map[string]uint64 `json:"limits,omitempty"`
}

// An Exit says how many workers have ended with a code or by a signal.
type Exit struct {
	Code   *int   `json:"code,omitempty"`
	Signal string `json:"signal,omitempty"`
	Count  uint64 `json:"count"`
}

// A Listener is a listening socket.
type Listener struct {
	Local string `json:"local"`
	// Queue is how many connections wait for accept, and Backlog how many may
	// wait. Both are nil if the kernel does not tell.
	Queue   *int `json:"queue,omitempty"`
	Backlog *int `json:"backlog,omitempty"`
}

// A Connection is a live connection and the worker that serves it.
type Connection struct {
	ID      string `json:"id"`
	Service string `json:"service"`
	PID     int    `json:"pid"`
	// Version is that of the program of the master that started the worker, if it
	// differs from the present one.
	Version string    `json:"version,omitempty"`
	Peer    string    `json:"peer"` // as log-peer allows
	Local   string    `json:"local"`
	Via     string    `json:"via,omitempty"`
	State   string    `json:"state"` // assigned, serving, stopped by a signal, gone (its client has gone), ending, leftovers (its worker has ended)
	Since   time.Time `json:"accepted"`
	Age     float64   `json:"age"`
	// CPU is the user and system time that the worker process has used so far.
	// RSS is its resident memory. Both are nil when the process has ended or
	// its figures could not be read.
	CPU *float64 `json:"cpu,omitempty"`
	RSS *uint64  `json:"rss,omitempty"`
	// BytesIn and BytesOut are what the kernel has received from the peer and
	// delivered to it. Both are nil for unix sockets, for which the kernel does
	// not count.
	BytesIn  *uint64 `json:"bytes_in,omitempty"`
	BytesOut *uint64 `json:"bytes_out,omitempty"`
	// ClientGone is when it turned out that the client had gone, nil if it has
	// not.
	ClientGone *time.Time `json:"client_gone,omitempty"`
}
