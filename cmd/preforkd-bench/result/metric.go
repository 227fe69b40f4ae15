package result

// A Metric is the name of a measured value. Names carry their unit.
type Metric string

// The metrics.
const (
	LatencyP50 Metric = "latency_p50_us" // connect, or due time, to the last byte of the echo
	LatencyP99 Metric = "latency_p99_us"
	LatencyMax Metric = "latency_max_us"
	LagP99     Metric = "lag_p99_us" // lateness of the open loop's generator itself
	Rate       Metric = "connections_per_s"
	Offered    Metric = "offered_per_s"

	// CPU time per connection. A microsecond each is a second in a million, so
	// seconds per thousand connections are these divided by a thousand.
	CPU        Metric = "cpu_us"         // master and workers
	CPUMaster  Metric = "cpu_master_us"  // the process that was started
	CPUWorkers Metric = "cpu_workers_us" // everything that came of it
	CPUMachine Metric = "cpu_machine_us" // the machine's busy time less the generator's

	Throughput Metric = "mib_per_s"
	CPUPerGiB  Metric = "cpu_s_per_gib"

	Served       Metric = "served"        // connections that were open and answered at once
	Lost         Metric = "lost"          // connections that were not served, or no longer answered
	Memory       Metric = "memory_kib"    // PSS per connection: growth of all the server's processes
	MemoryMaster Metric = "master_kib"    // growth of the master's private memory per connection
	MemorySystem Metric = "available_kib" // fall of the machine's MemAvailable per connection

	MasterFew    Metric = "cpu_master_few_us"  // master's CPU per connection with few others open
	MasterMany   Metric = "cpu_master_many_us" // the same with many
	MasterGrowth Metric = "cpu_master_growth"  // many divided by few

	// One master with many services.
	StartTime     Metric = "start_ms"      // until the last service answers, or the first socket listens
	ReloadTime    Metric = "reload_ms"     // from SIGHUP until the one service that was changed answers at its new address
	ReloadCPU     Metric = "cpu_reload_ms" // the master's CPU time of that
	MemoryService Metric = "service_kib"   // growth of the master's private memory per service
	Threads       Metric = "threads"       // of the master

	// Connections that are refused, and a client that is not.
	RefusedRate    Metric = "refused_per_s"       // while the server has nothing else to do
	CPURefused     Metric = "cpu_refused_us"      // the master's CPU time of one
	Refused        Metric = "refused"             // how many, for these two
	MemoryRules    Metric = "rules_mib"           // the master's private memory with its rules
	MemoryFlood    Metric = "flood_kib"           // growth of that by everything that came
	FloodRate      Metric = "flood_refused_per_s" // beside the client
	FloodP50       Metric = "flood_p50_us"        // the client's latency beside the flood
	FloodP99       Metric = "flood_p99_us"
	FloodP99Growth Metric = "flood_p99_growth" // divided by that without the flood

	// Boxes.
	LatencyPaced Metric = "latency_paced_us" // p50 of connections at a low rate, as LatencyP50
	CPUBusy      Metric = "cpu_busy_us"      // CPU with sixteen clients, as CPU
	StartMore    Metric = "start_more_ms"    // StartTime less that of the same service without a box
	CPUFew       Metric = "cpu_few_us"       // CPU per connection with few others open
	CPUMany      Metric = "cpu_many_us"      // the same with many
	CPUGrowth    Metric = "cpu_growth"       // many divided by few

	SpawnWall Metric = "spawn_wall_us" // one spawn after the other
	SpawnCPU  Metric = "spawn_cpu_us"  // parent and child
)

// Title returns a heading of a few characters, unit included.
func (m Metric) Title() string { return titles[m] }

var titles = map[Metric]string{
	LatencyP50:     "p50 us",
	LatencyP99:     "p99 us",
	LatencyMax:     "max us",
	LagP99:         "lag p99",
	Rate:           "conn/s",
	Offered:        "offered",
	CPU:            "CPU s/1000",
	CPUMaster:      "master",
	CPUWorkers:     "workers",
	CPUMachine:     "machine",
	Throughput:     "MiB/s",
	CPUPerGiB:      "CPU s/GiB",
	Served:         "served",
	Lost:           "lost",
	Memory:         "PSS KiB",
	MemoryMaster:   "master KiB",
	MemorySystem:   "avail KiB",
	MasterFew:      "master us",
	MasterMany:     "with many",
	MasterGrowth:   "growth",
	StartTime:      "start ms",
	ReloadTime:     "reload ms",
	ReloadCPU:      "its CPU ms",
	MemoryService:  "KiB/service",
	Threads:        "threads",
	RefusedRate:    "refused/s",
	CPURefused:     "master us",
	Refused:        "refused",
	MemoryRules:    "master MiB",
	MemoryFlood:    "growth KiB",
	FloodRate:      "flood/s",
	FloodP50:       "p50 beside",
	FloodP99:       "p99 beside",
	FloodP99Growth: "p99 growth",
	LatencyPaced:   "paced p50",
	CPUBusy:        "CPU of 16",
	StartMore:      "ms later",
	CPUFew:         "CPU us",
	CPUMany:        "with many",
	CPUGrowth:      "growth",
	SpawnWall:      "wall us",
	SpawnCPU:       "CPU us",
}

// PerThousand reports whether the metric is shown as seconds per thousand
// connections.
func (m Metric) PerThousand() bool {
	switch m {
	case CPU, CPUMaster, CPUWorkers, CPUMachine, CPUBusy:
		return true
	}
	return false
}

// LowerIsBetter tells the direction of a metric.
func (m Metric) LowerIsBetter() bool {
	switch m {
	case Rate, Throughput, Served, Offered, RefusedRate, FloodRate:
		return false
	}
	return true
}
