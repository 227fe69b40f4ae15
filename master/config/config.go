package config

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Config is the whole configuration of a master. Load, Parse and FromFlags
// return one. Complete fills in what follows from other fields, and Validate
// reports what is wrong.
type Config struct {
	// WorkerBinary is the program in which built-in handlers run. If it is
	// empty, the program is the one beside the master's executable, or else in
	// ../lib/preforkd/.
	WorkerBinary string

	// DrainTimeout is how long live connections may continue after the master's
	// SIGTERM. Then their workers get SIGTERM, too. KillDelay is how long the
	// workers may take to end. Then they get SIGKILL.
	DrainTimeout time.Duration
	KillDelay    time.Duration

	// Control is the path of the control socket, or ControlAuto or ControlNone.
	// The other three are the mode, owner and group of the socket's file.
	Control      string
	ControlMode  FileMode
	ControlOwner string
	ControlGroup string
	// Metrics is the TCP address at which metrics are served. If it is empty,
	// there is none. The control socket serves metrics in any case.
	Metrics string

	// LogPeer is how much the log and the status tell of peers.
	LogPeer LogPeer

	Services []Service

	Run

	// Overridden lists the master's keys of the file that Run.Flags have given
	// other values, in the order of the manual.
	Overridden []string

	// at holds the positions of the master's keys. A key that a flag has set has
	// the zero Position.
	at positions

	known   *lookups // of this load
	setting setting
}

// A Run holds what only the command line can set, for this run of the program.
// No key stands for it, and a reload does not change it.
type Run struct {
	// Once makes the master serve a single connection, and then exit with the
	// exit code of its worker.
	Once bool

	// Activated says that a service manager has passed sockets to this process.
	// They may take the place of addresses that a service does not list.
	Activated bool

	// Flags are flags of the master beside a file: the texts that were given for
	// each name. They win over what the file says, and go on to do so when it is
	// read again.
	Flags map[string][]string

	// Wrap is a command, for instance strace and its options, in front of every
	// worker's command line.
	Wrap []string
}

// A Service is a named set of listeners, a handler and a policy. The keys in
// keys.go explain the fields in detail.
type Service struct {
	Name string
	// Listen holds the addresses to bind. Sockets that a service manager has
	// passed for the service take their place. Listen is empty only if
	// Run.Activated says that there may be such sockets.
	Listen []Address

	// Handler is the name of a built-in handler. Program is any other program
	// with its arguments. Exactly one of the two is set.
	Handler string
	Program []string

	// Handoff is the way in which a connection reaches the handler.
	Handoff Handoff

	// QuitWord is for the echo handler: a client ends its connection with this
	// line. If it is empty, there is no such line.
	QuitWord string

	// What a worker has at its start. Users and groups may be names or numbers.
	User                string
	Group               string
	SupplementaryGroups []string
	Umask               FileMode
	OOMScoreAdjust      OptionalInt
	Directory           string
	Env                 []string      // "NAME=value", or "NAME" for the master's own value
	WorkerProcessors    OptionalInt   // GOMAXPROCS of workers
	TimerSlack          time.Duration // of workers (prctl(2)); 0: the default of what runs
	Stderr              Stderr

	// Log is of which connections the log tells.
	Log ConnectionLog

	// MinSpares and MaxSpares limit the number of spares, which are workers
	// that start ahead of their connections. Between the limits the number
	// follows the demand.
	MinSpares int
	MaxSpares int
	// ConnectionsPerWorker is how many connections a worker serves, one after
	// the other, before it ends. With 1 every connection has a process of its
	// own. More of them are faster and less isolated.
	ConnectionsPerWorker int

	// Limits. A zero value means no limit, except for MaxConnections, which is
	// at least 1.
	MaxConnections          int
	MaxConnectionsPerSource int
	SourcePrefixV4          int
	SourcePrefixV6          int
	MaxSources              int
	Overflow                Overflow
	Rate                    Rate
	Burst                   int // 0: the count of the rate
	RatePerSource           Rate
	BurstPerSource          int
	RandomEarlyDrop         Drop
	RefuseMessage           string
	MaxLifetime             time.Duration // of a connection
	IdleTimeout             time.Duration // without a byte in either direction

	// Leftovers says what becomes of what a worker has started and left behind.
	Leftovers Leftovers

	// LingeringClose says that the master closes the connections of programs so
	// that the client gets the end of the answer, whatever it has sent.
	LingeringClose bool

	// HangUp says what becomes of a worker whose client has gone, HangUpGrace
	// how long afterwards.
	HangUp      HangUp
	HangUpGrace time.Duration

	// Box is what a worker may see, do and use. Services may share it, so it is not
	// changed once they are loaded.
	Box *Box

	// Who may connect.
	Allow []PeerSet
	Deny  []PeerSet
	Rules []Rule

	// Penalties for sources whose workers end in certain ways.
	PenaltyExitCodes []int
	PenaltySignals   []unix.Signal
	PenaltyLimits    []PenaltyLimit
	Penalty          time.Duration // the first one
	PenaltyGrowth    int           // each further one is longer by this factor
	PenaltyMax       time.Duration
	PenaltyExempt    []PeerSet
	PenaltyDryRun    bool

	// ProxyProtocol lists the peers whose PROXY header the master believes.
	ProxyProtocol []PeerSet
	ProxyTimeout  time.Duration

	// Options of the sockets.
	NoDelay      bool
	Keepalive    time.Duration
	UserTimeout  time.Duration
	DeferAccept  time.Duration
	ReusePort    bool
	FreeBind     bool
	BindToDevice string
	V6Only       bool
	Backlog      int
	SocketMode   FileMode
	SocketOwner  string
	SocketGroup  string

	at positions
	// boxAt holds the positions of the box's keys.
	boxAt positions
	// boxRequire is the key require, from which Box.Optional follows.
	boxRequire []string

	digest        digest // of its section of the file; zero if it has no single one
	fromTextAlone bool   // see findFromTextAlone
	kept          bool   // see Kept
	inForce       *Box   // of the one in the Base, if it is kept
}

// A Rule changes the policy of a service for some peers. The entry with the
// longest prefix decides, among all rules, allow and deny entries of a service.
type Rule struct {
	From   []PeerSet
	Action Action

	Env     []string // in addition to the service's
	Program []string // in place of the service's, with the same handoff

	// Limits in place of the service's. Where one is nil, the service's
	// applies.
	MaxConnectionsPerSource *int
	RatePerSource           *Rate
	BurstPerSource          *int
	MaxLifetime             *time.Duration
	IdleTimeout             *time.Duration

	// Log is in place of the service's, unless it is nil. It may also be set
	// where the rule denies.
	Log *ConnectionLog

	at positions
}

// A Handoff is the way in which a connection reaches its handler.
type Handoff string

const (
	// HandoffWorker passes the connection as fd 3 and the control channel as fd
	// 4.
	HandoffWorker Handoff = "worker"
	// HandoffStdio passes the connection as fds 0 and 1, as inetd does.
	HandoffStdio Handoff = "stdio"
	// HandoffSystemd passes the connection as fd 3 and sets LISTEN_FDS and
	// related variables, as a systemd socket unit with Accept=yes does
	// (sd_listen_fds(3)).
	HandoffSystemd Handoff = "systemd"
)

// Stderr is the destination of workers' fd 2.
type Stderr string

const (
	StderrInherit Stderr = "inherit" // to the master's own
	StderrNull    Stderr = "null"    // nowhere
	StderrLog     Stderr = "log"     // the log, line by line
)

// Leftovers is what becomes of what a worker has started when the worker ends.
type Leftovers string

const (
	LeftoversKill Leftovers = "kill" // it ends, too
	LeftoversKeep Leftovers = "keep" // it goes on
)

// HangUp is what becomes of a worker whose client has gone.
type HangUp string

const (
	HangUpKeep HangUp = "keep" // it goes on
	HangUpTerm HangUp = "term" // it is ended
)

// ConnectionLog is of which connections the log tells. All are counted.
type ConnectionLog string

const (
	LogAll      ConnectionLog = "all"      // of all
	LogFailures ConnectionLog = "failures" // of those that failed or were refused
	LogNone     ConnectionLog = "none"     // of none
)

// LogPeer is how much the log and the status tell of peers.
type LogPeer string

const (
	LogPeerFull   LogPeer = "full"   // addresses and ports
	LogPeerPrefix LogPeer = "prefix" // an IPv4 /24 or an IPv6 /48, and for unix sockets the user
	LogPeerNone   LogPeer = "none"   // nothing
)

// Overflow is what happens to connections beyond MaxConnections.
type Overflow string

const (
	OverflowWait   Overflow = "wait"   // they stay in the kernel's queue
	OverflowRefuse Overflow = "refuse" // they are accepted and closed
)

// Action is what a rule does with its peers.
type Action string

const (
	ActionAllow Action = "allow"
	ActionDeny  Action = "deny"
)
