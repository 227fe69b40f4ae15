package logging

// The events. Each one is the msg of exactly one kind of fact. They do not
// change, because people's searches and alerts depend on them.
const (
	EventListening       = "listening"              // a listener accepts: service, local
	EventAccepted        = "accepted"               // a connection was accepted: service, conn, peer, local, and pid if it has a worker
	EventReassigned      = "reassigned"             // a connection whose spare has ended has another worker: service, conn, peer, pid
	EventRefused         = "refused"                // a connection was closed without service: service, peer, reason
	EventSpawnFailed     = "spawn failed"           // no worker could be started: service, conn, peer, error
	EventSpawnStalled    = "spawn stalled"          // starts of a program hang: program, starts
	EventSpawnResumed    = "spawn resumed"          // they do not any more: program
	EventOOMScore        = "oom score not adjusted" // a worker keeps the master's: program, pid, error
	EventFull            = "full"                   // clients wait because a service is full, or are turned away: service, slots, waiting
	EventNotFull         = "no longer full"         // that is over: service, duration
	EventReaped          = "reaped"                 // a worker ended, with everything that is known of it
	EventEnded           = "ended"                  // a connection ended, and its worker serves the next one
	EventDraining        = "draining"               // no new connections are accepted, the live ones finish: reason or signal
	EventStopped         = "stopped"                // the last line of every run
	EventReloaded        = "reloaded"               // a new configuration is in force
	EventUpgrading       = "upgrading"              // another program is to take over in this process: from, binary, and whoever wanted it as reason
	EventUpgraded        = "upgraded"               // it has: from, to, duration, pause, workers, dropped
	EventNotUpgraded     = "not upgraded"           // the old program goes on: step, reason; or the process before has died: also at
	EventPenalized       = "penalized"              // a source is refused for some time: service, conn, source, duration
	EventControl         = "control"                // the control socket is open, or there is none: local or error
	EventSignalled       = "signalled"              // a client of the control socket had a worker signalled: service, conn, pid, signal, and the client as reason
	EventLogLevel        = "log level changed"      // from, to, and the client as reason
	EventStderr          = "stderr"                 // a line that a worker has written to its stderr: service, conn, line
	EventMetrics         = "serving metrics"        // metrics are served at an address, or that fails: local or error
	EventWorkerStopped   = "worker stopped"         // a signal has stopped a worker, which does nothing until it is continued: service, conn, pid, signal
	EventWorkerContinued = "worker continued"       // a worker that was stopped goes on: service, conn, pid
	EventLearning        = "learning"               // what connections of a service use is observed: service, and the client as reason
	EventLearned         = "learned"                // that is over: service, reason, processes, error if the service is still observed
	EventBoxIncomplete   = "box incomplete"         // a key of a box that may be missing cannot be had: service or services, key, error
)

// eventLinesLost takes the place of lines for which there was no room: lines.
const eventLinesLost = "log lines lost"
