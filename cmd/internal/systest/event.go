package systest

import (
	"encoding/json"
	"strings"
)

// The names of the events that masters log.
const (
	Listening   = "listening"
	Accepted    = "accepted"
	Refused     = "refused"
	SpawnFailed = "spawn failed"
	Reaped      = "reaped"
	Ended       = "ended"
	Reassigned  = "reassigned"
	Broken      = "contract broken"
	Overdue     = "worker overdue"
	Draining    = "draining"
	Stopped     = "stopped"
	Reloaded    = "reloaded"
	NotReloaded = "not reloaded"
	Penalized   = "penalized"
	Stderr      = "stderr"
)

// An Event is one line of a master's log. Fields that an event may lack and
// whose zero value means something are pointers.
type Event struct {
	TS      json.RawMessage `json:"ts"`
	Level   string          `json:"level"`
	Msg     string          `json:"msg"`
	Service string          `json:"service"`
	Conn    string          `json:"conn"`
	PID     int             `json:"pid"`
	Peer    string          `json:"peer"`
	Local   string          `json:"local"`
	Reason  string          `json:"reason"`
	Signal  string          `json:"signal"` // a name such as SIGSEGV
	Error   string          `json:"error"`

	Source     string `json:"source"`
	Suppressed int    `json:"suppressed"`
	Via        string `json:"via"`
	Written    string `json:"line"` // by a worker, to its stderr
	StderrTail string `json:"stderr_tail"`

	// Of a reload: names of services, addresses of listeners.
	Added, Changed, Removed, Opened, Closed string

	// Of a socket that was passed or stored.
	From, Name string

	ExitCode *int     `json:"exit_code"`
	Duration *float64 `json:"duration"` // seconds
	BytesIn  *int64   `json:"bytes_in"`
	BytesOut *int64   `json:"bytes_out"`
	UserTime *float64 `json:"user_time"` // seconds
	SysTime  *float64 `json:"sys_time"`  // seconds
	MaxRSS   *int64   `json:"max_rss"`   // bytes

	// Of an upgrade: the step that has failed, and how long nothing was accepted.
	Step  string   `json:"step"`
	Pause *float64 `json:"pause"` // seconds

	// Spares are those that wait, in a status of a service that has some.
	Spares *int `json:"spares"`

	// Report is what the worker had to say beyond that.
	Report map[string]string `json:"report"`

	// Line is the whole line. For a line that is no event, such as a worker's
	// own words on stderr, it is all there is.
	Line string `json:"-"`
	// Index is the line's place in the log, from 0.
	Index int `json:"-"`
}

// parseEvent makes an event of a line. malformed says that the line looks like
// an event and is none.
//
// The master shares its stderr with the workers, and a program that writes half
// a line at a time may have half a line before the event.
func parseEvent(line string) (e Event, malformed error) {
	if at := strings.Index(line, `{"`); at >= 0 {
		err := json.Unmarshal([]byte(line[at:]), &e)
		if err != nil {
			e = Event{}
		}
		if at == 0 {
			malformed = err
		}
	}
	e.Line = line
	return e, malformed
}

// Is returns a condition for the events of one name.
func Is(msg string) func(Event) bool {
	return func(e Event) bool { return e.Msg == msg }
}

// Of returns a condition for the events of one name about one connection.
func Of(msg, conn string) func(Event) bool {
	return func(e Event) bool { return e.Msg == msg && e.Conn == conn }
}

// Ends returns a condition for the events that end a connection, whether its
// worker ended with it or not.
func Ends(conn string) func(Event) bool {
	return func(e Event) bool { return e.Conn == conn && (e.Msg == Reaped || e.Msg == Ended) }
}

// Code returns the exit code, or -1 when there is none.
func (e Event) Code() int {
	if e.ExitCode == nil {
		return -1
	}
	return *e.ExitCode
}
