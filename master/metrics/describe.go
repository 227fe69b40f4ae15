package metrics

import "github.com/prometheus/client_golang/prometheus"

// The metrics follow the conventions of Prometheus: base units, and _total for
// what only grows. Their names and labels do not change.
var (
	buildInfo      = describe("preforkd_build_info", "What is running; always 1.", "version", "go_version")
	started        = describe("preforkd_start_time_seconds", "When the master began, since 1970.")
	upgrades       = describe("preforkd_upgrades_total", "Upgrades in place after which the new program served.")
	upgradesFailed = describe("preforkd_upgrades_failed_total", "Upgrades in place after which the old program went on, or in which the process before died.")
	generation     = describe("preforkd_generation", "Which program the process runs: 1 for the one that it was started with, 1 more for each that has taken over.")
	draining       = describe("preforkd_draining", "Whether the master stops: 1 from the first signal on.")
	problems       = describe("preforkd_problems", "How many reasons there are for which the master is degraded; `preforkd status` names them.")

	accepted = describe("preforkd_connections_accepted_total", "Connections that were taken from the kernel.", "service")
	refused  = describe("preforkd_connections_refused_total", "Connections that were closed unserved.", "service", "reason")
	failed   = describe("preforkd_connections_failed_total", "Connections that got no worker.", "service", "cause")
	reaped   = describe("preforkd_connections_reaped_total", "Connections that were served to their end.", "service")
	live     = describe("preforkd_connections_live", "Connections that are alive.", "service")
	duration = describe("preforkd_connection_duration_seconds", "From the accept of a connection to its end.", "service")
	bytes    = describe("preforkd_connection_bytes_total", "Bytes that workers have reported of connections that are over.", "service", "direction")

	slots      = describe("preforkd_slots", "Connections that the service may have at once.", "service")
	slotsTaken = describe("preforkd_slots_taken", "Slots that are held or reserved.", "service")
	full       = describe("preforkd_full", "Whether the service is full, and clients wait for a slot or are turned away.", "service")
	fullTime   = describe("preforkd_full_seconds_total", "How long it was so.", "service")
	spares     = describe("preforkd_spares", "Workers that wait for a connection, or start for one.", "service", "state")
	penalized  = describe("preforkd_penalized_sources", "Sources that are refused for a while.", "service")
	queue      = describe("preforkd_accept_queue_length", "Connections that wait in the kernel to be accepted.", "service", "listener")
	queueLimit = describe("preforkd_accept_queue_limit", "Connections that may wait there; more are turned away by the kernel.", "service", "listener")

	spawned  = describe("preforkd_spawn_duration_seconds", "How long it takes to start a worker, until it runs its program.", "service")
	handover = describe("preforkd_handover_duration_seconds", "How long it takes until a spare has a connection.", "service")
	exits    = describe("preforkd_worker_exits_total", "Workers that have ended, by exit code or by the signal that ended them.", "service", "code", "signal")
	cpu      = describe("preforkd_worker_cpu_seconds_total", "CPU time of workers that have ended.", "service", "mode")
	leftover = describe("preforkd_leftovers_total", "Processes that workers had left behind, and that were ended.", "service")
	boxLimit = describe("preforkd_box_limits_total", "Connections that have met a limit of their box: memory, tasks, cpu, runtime, file-size, or denied, a system call.", "service", "limit")
	peak     = describe("preforkd_worker_max_resident_bytes", "The most memory that workers had which have ended; of small ones it is the master's own size.", "service")
)

// descriptions are the descriptions of all metrics.
var descriptions []*prometheus.Desc

// names are the names of all metrics.
var names []string

func describe(name, help string, labels ...string) *prometheus.Desc {
	d := prometheus.NewDesc(name, help, labels, nil)
	descriptions, names = append(descriptions, d), append(names, name)
	return d
}

// Names returns the names of the master's own metrics. The series of a
// histogram have its name and _bucket, _sum or _count.
func Names() []string { return append([]string(nil), names...) }
