package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// A Controlled is the running master that the server asks and tells. Its methods are called by any
// number of goroutines, and return when the context ends at the latest. Their
// errors are of type *Error where a client is to hear more than that it failed.
type Controlled interface {
	Status(context.Context) (Status, error)
	// Explain says what would become of a connection from an address, which is
	// an IP address or "uid:USER", of one service or with "" of each.
	Explain(ctx context.Context, address, service string) (Explained, error)
	// Drain begins to stop a service, or with "" the master.
	Drain(ctx context.Context, service string, by Peer) (Drained, error)
	Reload(ctx context.Context) (Reloaded, error)
	Kill(ctx context.Context, connection string, sig unix.Signal, by Peer) (Killed, error)
	LogLevel() string
	SetLogLevel(ctx context.Context, level string, by Peer) (LogLevel, error)
}

// A Peer is who is at the other end of a control connection, as the kernel
// knows it (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
}

func (p Peer) String() string { return fmt.Sprintf("uid=%d,pid=%d", p.UID, p.PID) }

// An Explained is what would become of a connection now, by service.
type Explained struct {
	Services []Explanation `json:"services"`
}

// Outcomes of an Explanation.
const (
	OutcomeAdmitted = "admitted"
	OutcomeRefused  = "refused"
	OutcomeWaits    = "waits"
)

// An Explanation says what a service would do with a connection now.
type Explanation struct {
	Service string `json:"service"`
	Address string `json:"address"`
	Source  string `json:"source"` // that the address is counted as
	Outcome string `json:"outcome"`
	// Reason is that of a refusal, as in the log; of one that waits it is the
	// limit that it waits for.
	Reason string `json:"reason,omitempty"`
	// By is the rule or limit that decides, as it is configured.
	By string `json:"by,omitempty"`
	// Until is when the reason will have passed, where that can be known.
	Until *time.Time `json:"until,omitempty"`
	// Live is how many connections the source has.
	Live int `json:"live"`
	// EarlyDrop is the chance, from 0 to 1, of being refused at random instead.
	EarlyDrop float64 `json:"early_drop,omitempty"`
	// Note says what else there is to know.
	Note string `json:"note,omitempty"`
}

// A Drained is what is left to finish.
type Drained struct {
	Service string  `json:"service,omitempty"` // empty: the whole master
	State   string  `json:"state"`
	Live    uint64  `json:"live"`
	Timeout float64 `json:"timeout,omitempty"` // of the master, in seconds
}

// A Reloaded says what a reload has changed.
type Reloaded struct {
	Added   []string `json:"added"` // services
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
	Opened  []string `json:"opened"` // listeners
	Closed  []string `json:"closed"`
}

// A Killed says what was signalled.
type Killed struct {
	Connection string `json:"connection"`
	Service    string `json:"service"`
	PID        int    `json:"pid"`
	Signal     string `json:"signal"`
}

// A LogLevel is the level of the log, and the one before.
type LogLevel struct {
	Level  string `json:"level"`
	Before string `json:"before,omitempty"`
}

// An Error is why a request was not met, in one line for the person who made
// it.
type Error struct {
	Kind Kind
	Text string
	// Mistakes are those of a configuration file, with their places.
	Mistakes []string
}

func (e *Error) Error() string { return e.Text }

// A Kind of error is the status code of HTTP that says the same.
type Kind int

const (
	Invalid     Kind = http.StatusBadRequest            // it makes no sense
	Forbidden   Kind = http.StatusForbidden             // this client may not do it
	NotFound    Kind = http.StatusNotFound              // what it is about is not there
	NotAllowed  Kind = http.StatusMethodNotAllowed      // there, but not with this method
	Conflict    Kind = http.StatusConflict              // it cannot be done as things are
	TooLarge    Kind = http.StatusRequestEntityTooLarge // more than anybody has to say
	Mistaken    Kind = http.StatusUnprocessableEntity   // the configuration has mistakes
	Failed      Kind = http.StatusInternalServerError   // it was tried and failed
	Unavailable Kind = http.StatusServiceUnavailable    // the master ends, or is too busy to answer
)

// Errorf makes an Error.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// asError makes an Error of any error.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Errorf(Unavailable, "the master did not get round to it in time")
	}
	return Errorf(Failed, "%v", err)
}
