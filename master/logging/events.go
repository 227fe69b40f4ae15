package logging

// The events: each is the msg of exactly one kind of fact. They are stable,
// since people's searches and alerts hang on them.
const (
	EventListening   = "listening"         // a listener accepts: service, local
	EventAccepted    = "accepted"          // a connection was taken: service, conn, peer, local, and pid when it has its worker
	EventRefused     = "refused"           // a connection was closed unserved: service, peer, reason
	EventSpawnFailed = "spawn failed"      // no worker could be started: service, conn, peer, error
	EventReaped      = "reaped"            // a worker ended, and all that is known of it
	EventEnded       = "ended"             // a connection ended whose worker goes on to the next one
	EventDraining    = "draining"          // no new connections, the live ones finish: reason or signal
	EventStopped     = "stopped"           // the last line of every run
	EventReloaded    = "reloaded"          // a new configuration is in force
	EventPenalized   = "penalized"         // a source is refused for a while: service, conn, source, duration
	EventControl     = "control"           // where the control socket is, or why there is none: local or error
	EventSignalled   = "signalled"         // somebody had a worker signalled: service, conn, pid, signal, and reason, who it was
	EventLogLevel    = "log level changed" // from, to, and reason, who it was
	EventStderr      = "stderr"            // a worker's line, where its stderr goes to the log: service, conn, line
	EventMetrics     = "serving metrics"   // metrics are served at an address: local; or what goes wrong with that
)

// eventLinesLost takes the place of lines that found no room: lines.
const eventLinesLost = "log lines lost"
