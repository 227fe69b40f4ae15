package logging

// The events: each is the msg of exactly one kind of fact. They are stable,
// since people's searches and alerts hang on them.
const (
	EventListening   = "listening"    // a listener accepts: service, local
	EventAccepted    = "accepted"     // a connection was taken: service, conn, peer, local, and pid when it has its worker
	EventRefused     = "refused"      // a connection was closed unserved: service, peer, reason
	EventSpawnFailed = "spawn failed" // no worker could be started: service, conn, peer, error
	EventReaped      = "reaped"       // a worker ended, and all that is known of it
	EventEnded       = "ended"        // a connection ended whose worker goes on to the next one
	EventDraining    = "draining"     // no new connections, the live ones finish: reason or signal
	EventStopped     = "stopped"      // the last line of every run
	EventReloaded    = "reloaded"     // a new configuration is in force
)

// eventLinesLost takes the place of lines that found no room: lines.
const eventLinesLost = "log lines lost"
