package result

// A Target is a value of one server, or its ratio to another one's, and what
// that should be.
type Target struct {
	ID       string
	Scenario string
	Metric   Metric
	Server   string
	Peer     string // the value is divided by the peer's; empty: the value itself

	AtLeast bool    // the value should be at least Want; otherwise at most
	Want    float64 // what is promised, or insisted on
}

// Targets holds what preforkd is to reach. The documents show what it has
// reached; no check fails because of it. Peers are what people use in its place.
var Targets = []Target{
	// A program on fds 0 and 1, a fresh process each. One that is linked with
	// musl shows the servers; the best of two peers is as good as each of them.
	// The master's time is 80 us where tcpserver's is 58.
	{ID: "P1", Scenario: "musl1", Metric: LatencyP50, Server: "preforkd-stdio", Peer: "tcpserver", Want: 1},
	{ID: "P1", Scenario: "musl1", Metric: LatencyP50, Server: "preforkd-stdio", Peer: "s6-tcpserverd", Want: 1},
	{ID: "P1", Scenario: "musl16", Metric: Rate, Server: "preforkd-stdio", Peer: "tcpserver", AtLeast: true, Want: 1},
	{ID: "P1", Scenario: "musl16", Metric: Rate, Server: "preforkd-stdio", Peer: "s6-tcpserverd", AtLeast: true, Want: 1},
	{ID: "P1", Scenario: "musl16", Metric: CPUMaster, Server: "preforkd-stdio", Peer: "tcpserver", Want: 80.0 / 58},

	// The same program linked with glibc, as most programs are.
	{ID: "P1g", Scenario: "closed1", Metric: LatencyP50, Server: "preforkd-stdio", Peer: "tcpserver", Want: 0.95},
	{ID: "P1g", Scenario: "closed16", Metric: Rate, Server: "preforkd-stdio", Peer: "tcpserver", AtLeast: true, Want: 1},
	{ID: "P1g", Scenario: "closed16", Metric: Rate, Server: "preforkd-stdio", Peer: "socat", AtLeast: true, Want: 2},
	{ID: "P1g", Scenario: "closed16", Metric: Rate, Server: "preforkd-stdio", Peer: "xinetd", AtLeast: true, Want: 2},
	{ID: "P1g", Scenario: "closed16", Metric: Rate, Server: "preforkd-stdio", Peer: "systemd", AtLeast: true, Want: 2},

	// The built-in echo, a fresh Go process each: what all of it costs beside a
	// bare Go program that a bare Go server starts, and beside a C program.
	{ID: "P2", Scenario: "closed16", Metric: CPU, Server: "preforkd-echo", Peer: "baseline-go", Want: 1},
	{ID: "P2", Scenario: "closed16", Metric: Rate, Server: "preforkd-echo", Peer: "tcpserver", AtLeast: true, Want: 0.8},

	// Spares.
	{ID: "P3", Scenario: "open", Metric: LatencyP50, Server: "preforkd-spares", Peer: "fork-c", Want: 1},
	{ID: "P3", Scenario: "open", Metric: LatencyP99, Server: "preforkd-spares", Peer: "fork-c", Want: 1.5},

	// Workers that serve many connections. What the master costs is an absolute time.
	{ID: "P4", Scenario: "closed16", Metric: Rate, Server: "preforkd-reuse", Peer: "fork-c", AtLeast: true, Want: 1.4},
	{ID: "P4", Scenario: "closed16", Metric: Rate, Server: "preforkd-reuse", Peer: "apache", AtLeast: true, Want: 0.7},
	{ID: "P4", Scenario: "closed16", Metric: CPUMaster, Server: "preforkd-reuse", Want: 25},

	// One stream.
	{ID: "P5", Scenario: "bulk", Metric: Throughput, Server: "preforkd-echo", Peer: "fork-c", AtLeast: true, Want: 2.5},
	{ID: "P5", Scenario: "bulk", Metric: Throughput, Server: "preforkd-echo", Peer: "socat", AtLeast: true, Want: 2},
	{ID: "P5", Scenario: "bulk", Metric: CPUPerGiB, Server: "preforkd-echo", Peer: "fork-c", Want: 0.5},
	{ID: "P5", Scenario: "bulk", Metric: CPUPerGiB, Server: "preforkd-echo", Peer: "socat", Want: 0.5},

	// Many idle connections.
	{ID: "P6", Scenario: "idle", Metric: Lost, Server: "preforkd-stdio", Want: 0},
	{ID: "P6", Scenario: "idle", Metric: Lost, Server: "preforkd-echo", Want: 0},
	{ID: "P6", Scenario: "idle", Metric: Memory, Server: "preforkd-stdio", Peer: "tcpserver", Want: 1},
	{ID: "P6", Scenario: "idle", Metric: Memory, Server: "preforkd-echo", Peer: "baseline-go", Want: 1.1},
	{ID: "P6", Scenario: "idle", Metric: MemoryMaster, Server: "preforkd-stdio", Want: 1.3},
	{ID: "P6", Scenario: "idle", Metric: MemoryMaster, Server: "preforkd-echo", Want: 1.3},

	// Growth: many live connections must not make a new one dearer.
	{ID: "P7", Scenario: "growth", Metric: MasterGrowth, Server: "preforkd-stdio", Want: 1.2},
	{ID: "P7", Scenario: "growth", Metric: MasterGrowth, Server: "preforkd-echo", Want: 1.2},

	// Many services of one master.
	{ID: "P8", Scenario: "services", Metric: Threads, Server: "preforkd-10000", Want: 40},
	{ID: "P8", Scenario: "services", Metric: MemoryService, Server: "preforkd-10000", Want: 8},
	{ID: "P8", Scenario: "services", Metric: CPUMaster, Server: "preforkd-10000", Peer: "preforkd-1", Want: 1.05},

	// Refusals, with 100,000 rules, from a million sources. What the master
	// remembers is bounded by max-sources: 65,536, for which 512 bytes each are
	// enough, more sources than that have come.
	{ID: "P9", Scenario: "refusals", Metric: RefusedRate, Server: "preforkd-rules", Peer: "baseline-refuse", AtLeast: true, Want: 0.6},
	{ID: "P9", Scenario: "refusals", Metric: RefusedRate, Server: "preforkd-sources", Peer: "baseline-refuse", AtLeast: true, Want: 0.6},
	{ID: "P9", Scenario: "refusals", Metric: MemoryFlood, Server: "preforkd-rules", Want: 32768},
	{ID: "P9", Scenario: "refusals", Metric: MemoryFlood, Server: "preforkd-sources", Want: 32768},
	{ID: "P9", Scenario: "refusals", Metric: FloodP99Growth, Server: "preforkd-rules", Want: 2},
	{ID: "P9", Scenario: "refusals", Metric: FloodP99Growth, Server: "preforkd-sources", Want: 2},

	// A box for each connection, where nothing is written to /tmp, and where
	// each connection does that.
	{ID: "B1", Scenario: "box", Metric: CPU, Server: "preforkd-strict", Peer: "preforkd-stdio", Want: 1.1},
	{ID: "B1", Scenario: "box", Metric: LatencyP50, Server: "preforkd-strict", Peer: "preforkd-stdio", Want: 1.1},
	{ID: "B1", Scenario: "box", Metric: CPU, Server: "preforkd-strict-tmp", Peer: "preforkd-stdio", Want: 1.6},
	{ID: "B1", Scenario: "box", Metric: LatencyP50, Server: "preforkd-strict-tmp", Peer: "preforkd-stdio", Want: 1.6},
	{ID: "B1m", Scenario: "boxmusl", Metric: CPU, Server: "preforkd-strict", Peer: "preforkd-stdio", Want: 1.1},
	{ID: "B1m", Scenario: "boxmusl", Metric: LatencyP50, Server: "preforkd-strict", Peer: "preforkd-stdio", Want: 1.1},
	{ID: "B1m", Scenario: "boxmusl", Metric: CPU, Server: "preforkd-strict-tmp", Peer: "preforkd-stdio", Want: 1.6},
	{ID: "B1m", Scenario: "boxmusl", Metric: LatencyP50, Server: "preforkd-strict-tmp", Peer: "preforkd-stdio", Want: 1.6},

	// With spares the box costs the client nothing.
	{ID: "B2", Scenario: "box", Metric: LatencyPaced, Server: "preforkd-spares-strict", Peer: "preforkd-spares-none", Want: 1.05},

	// What people have for it.
	{ID: "B3", Scenario: "box", Metric: Rate, Server: "preforkd-strict", Peer: "nsjail", AtLeast: true, Want: 3},
	{ID: "B3", Scenario: "box", Metric: LatencyP50, Server: "preforkd-strict", Peer: "nsjail", Want: 0.6},
	{ID: "B4", Scenario: "box", Metric: Rate, Server: "preforkd-strict", Peer: "systemd-sandbox", AtLeast: true, Want: 40},

	// The start of a service, and many boxes.
	{ID: "B5", Scenario: "box", Metric: StartMore, Server: "preforkd-strict", Want: 100},
	{ID: "B6", Scenario: "boxes", Metric: CPUGrowth, Server: "preforkd-strict", Want: 1.2},
}

// Bounds holds what the check insists on: ratios to a baseline of the same kind
// in the same run. Both sides start the same programs in the same way, so a
// machine where a page fault or an exec is dear is dear for both. Ratios to a
// server of another kind are not here: fork without exec and Apache's
// processes, which accept for themselves, have other costs, and a machine can
// move the ratio to them by a factor.
//
// The bounds are loose. On a machine of two cores with a load average of
// fourteen, no median was further from that of a quiet machine than half of the
// way to its bound. Of a master that sleeps for two milliseconds in each start
// of a worker, three bounds find that. Package counts finds what is smaller.
var Bounds = []Target{
	{ID: "start", Scenario: "closed1", Metric: LatencyP50, Server: "preforkd-stdio", Peer: "baseline-osexec", Want: 2.5},
	{ID: "start", Scenario: "closed16", Metric: Rate, Server: "preforkd-stdio", Peer: "baseline-osexec", AtLeast: true, Want: 0.35},
	{ID: "start", Scenario: "closed16", Metric: CPU, Server: "preforkd-stdio", Peer: "baseline-osexec", Want: 2},
	{ID: "worker", Scenario: "closed1", Metric: LatencyP50, Server: "preforkd-echo", Peer: "baseline-go", Want: 3},
	{ID: "worker", Scenario: "closed16", Metric: CPUWorkers, Server: "preforkd-echo", Peer: "baseline-go", Want: 2.2},
	{ID: "spares", Scenario: "closed1", Metric: LatencyP50, Server: "preforkd-spares", Peer: "baseline-go", Want: 2},
	{ID: "reuse", Scenario: "closed16", Metric: Rate, Server: "preforkd-reuse", Peer: "baseline-fdpass-go", AtLeast: true, Want: 0.1},
	{ID: "box", Scenario: "box", Metric: CPU, Server: "preforkd-strict", Peer: "preforkd-stdio", Want: 3},
	{ID: "stream", Scenario: "bulk", Metric: Throughput, Server: "preforkd-echo", Peer: "baseline-go", AtLeast: true, Want: 0.4},
	{ID: "stream", Scenario: "bulk", Metric: CPUPerGiB, Server: "preforkd-echo", Peer: "baseline-go", Want: 1.2},
	{ID: "idle", Scenario: "idle", Metric: Lost, Server: "preforkd-stdio", Want: 0},
	{ID: "idle", Scenario: "idle", Metric: Lost, Server: "preforkd-echo", Want: 0},
	{ID: "idle", Scenario: "idle", Metric: Memory, Server: "preforkd-echo", Peer: "baseline-go", Want: 2},
	{ID: "idle", Scenario: "idle", Metric: MemoryMaster, Server: "preforkd-stdio", Want: 20},
	{ID: "idle", Scenario: "idle", Metric: MemoryMaster, Server: "preforkd-echo", Want: 20},
}
