package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sys/unix"
)

// A Backend is the running master, as the server sees it. Several goroutines
// may call its methods at once. A method must return when the context ends. An
// error of type *Error tells the client more than that the request has failed.
type Backend interface {
	Status(context.Context) (Status, error)
	// Explain says what would become of a connection from an address to a
	// service, or with "" to each service. The address is an IP address or
	// "uid:USER".
	Explain(ctx context.Context, address, service string) (Explained, error)
	// Drain starts to stop a service, or with "" the master.
	Drain(ctx context.Context, service string, by Peer) (Drained, error)
	// Resume brings a service back that was drained.
	Resume(ctx context.Context, service string, by Peer) (Resumed, error)
	Reload(ctx context.Context) (Reloaded, error)
	// Upgrade has another program take over in the master's process. It may detach the
	// client that waits, and does not return then if the other program answers it.
	Upgrade(ctx context.Context, r UpgradeRequest, by Peer, w *Waiter) (Upgraded, error)
	Kill(ctx context.Context, connection string, sig unix.Signal, by Peer) (Killed, error)
	// Learn begins to observe what new connections of a service use.
	Learn(ctx context.Context, service string, by Peer) (Learned, error)
	// Learned returns what is known, and ends the observation if the client wants that. It
	// also ends when nobody asks for a while.
	Learned(ctx context.Context, id string, end bool) (Learned, error)
	LogLevel() string
	SetLogLevel(ctx context.Context, level string, by Peer) (LogLevel, error)
}

// A Peer is the process at the other end of a control connection, as the kernel
// reports it (SO_PEERCRED, unix(7)).
type Peer struct {
	UID, GID uint32
	PID      int32
}

func (p Peer) String() string { return fmt.Sprintf("uid=%d,pid=%d", p.UID, p.PID) }

// An Explained says for each service what would become of a connection now.
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
	Source  string `json:"source"` // what the address is counted as
	Outcome string `json:"outcome"`
	// Reason is the reason for a refusal, as in the log. For a connection that
	// waits it is the limit that makes it wait.
	Reason string `json:"reason,omitempty"`
	// By is the rule or limit that decides, as in the configuration.
	By string `json:"by,omitempty"`
	// Until is the time when the reason will have passed, if that is known.
	Until *time.Time `json:"until,omitempty"`
	// Live is how many connections the source has.
	Live int `json:"live"`
	// EarlyDrop is the probability, from 0 to 1, of a random refusal.
	EarlyDrop float64 `json:"early_drop,omitempty"`
	// Log is of which of its connections the log tells: all, failures or none.
	// LogBy is the rule that decides about that, empty if it is the service.
	Log   string `json:"log"`
	LogBy string `json:"log_by,omitempty"`
	// Note is a remark for the reader.
	Note string `json:"note,omitempty"`
}

// A Drained says how many connections a drain has still to wait for.
type Drained struct {
	Service string  `json:"service,omitempty"` // empty: the whole master
	State   string  `json:"state"`
	Live    uint64  `json:"live"`
	Timeout float64 `json:"timeout,omitempty"` // of the master, in seconds
}

// A Resumed says where a service that was drained listens again.
type Resumed struct {
	Service   string   `json:"service"`
	State     string   `json:"state"`
	Listeners []string `json:"listeners"`
}

// A Reloaded says what a reload has changed.
type Reloaded struct {
	Added   []string `json:"added"` // services
	Changed []string `json:"changed"`
	Removed []string `json:"removed"`
	Opened  []string `json:"opened"` // listeners
	Closed  []string `json:"closed"`
}

// A Killed says which worker got a signal.
type Killed struct {
	Connection string `json:"connection"`
	Service    string `json:"service"`
	PID        int    `json:"pid"`
	Signal     string `json:"signal"`
}

// A Learned is what connections of a service have used that were observed. The lists are
// sorted.
type Learned struct {
	ID      string `json:"id"` // of the observation
	Service string `json:"service"`
	// Over is why the observation has ended, if this client has not ended it.
	Over string `json:"over,omitempty"`
	// Processes counts those that have begun for connections, and spares.
	Processes int `json:"processes"`
	// SystemCalls are the names of those that were used and that not every list of
	// allowed ones has.
	SystemCalls []string `json:"system_calls"`
	// AddressFamilies are those of new sockets. AnyFamily says that there may have been
	// others.
	AddressFamilies []string `json:"address_families"`
	AnyFamily       bool     `json:"any_family,omitempty"`
	// Needs are keys of the box that would have denied something if they were true.
	Needs []string `json:"needs"`
	// Denied are the calls that the box has denied, and how often each was.
	Denied map[string]uint64 `json:"denied"`
}

// A LogLevel is the level of the log, and the level before a change.
type LogLevel struct {
	Level  string `json:"level"`
	Before string `json:"before,omitempty"`
}

// An Error says why the master did not do what was requested, in one line for
// the person who asked.
type Error struct {
	Kind Kind
	Text string
	// ConfigErrors are the errors of a configuration file, with their
	// positions.
	ConfigErrors []string
}

func (e *Error) Error() string { return e.Text }

// A Kind is the class of an Error. Its value is the HTTP status code that means
// the same.
type Kind int

const (
	Invalid       Kind = http.StatusBadRequest            // the request makes no sense
	Forbidden     Kind = http.StatusForbidden             // this client may not do that
	NotFound      Kind = http.StatusNotFound              // the service or connection does not exist
	NotAllowed    Kind = http.StatusMethodNotAllowed      // the path exists, but not with this method
	Conflict      Kind = http.StatusConflict              // the present state does not allow it
	TooLarge      Kind = http.StatusRequestEntityTooLarge // the body is too large
	InvalidConfig Kind = http.StatusUnprocessableEntity   // the configuration has errors
	Failed        Kind = http.StatusInternalServerError   // the master has tried and failed
	Unavailable   Kind = http.StatusServiceUnavailable    // the master is ending, or too busy to answer
)

// Errorf makes an Error.
func Errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// asError returns the Error inside err, or an Error with the same text.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Errorf(Unavailable, "the master did not get round to it in time")
	}
	return Errorf(Failed, "%v", err)
}
