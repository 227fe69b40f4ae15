package config

import (
	"time"

	"golang.org/x/sys/unix"
)

// A Config is all that a master is told. It comes from Load, Parse or
// FromFlags; Complete fills in what follows from the rest, Validate says what
// is wrong with it.
type Config struct {
	// WorkerBinary is the program that built-in handlers run in. Empty: it is
	// looked for beside the master's executable, then in ../lib/preforkd/.
	WorkerBinary string

	// DrainTimeout is how long live connections may go on after SIGTERM
	// before their workers get SIGTERM as well. KillDelay is how long those
	// may take before SIGKILL.
	DrainTimeout time.Duration
	KillDelay    time.Duration

	// Control is the path of the control socket, or ControlAuto or
	// ControlNone. The others are of the socket's file.
	Control      string
	ControlMode  FileMode
	ControlOwner string
	ControlGroup string
	// Metrics is the TCP address at which metrics are served; empty for none.
	// They are on the control socket in any case.
	Metrics string

	// LogPeer is how much of peers the log and a status tell.
	LogPeer LogPeer

	Services []Service

	Run

	// at says where the master's keys were written.
	at positions
}

// A Run is what the command line says of this one run of the program. It has no
// keys and is the same after a reload.
type Run struct {
	// Once serves a single connection and then ends with its worker's code.
	Once bool

	// Activated says that sockets were passed to this process, which may be in
	// place of what a service of a file does not list.
	Activated bool

	// Wrap is put in front of every worker's command line, for instance
	// strace and its options.
	Wrap []string
}

// A Service is a named set of listeners, a handler and a policy. What a field
// means in detail is said where its key is defined, in servicekeys.go.
type Service struct {
	Name string
	// Listen is what to bind. Sockets that are passed for the service take its
	// place; it is empty only where Run.Activated says that there may be some.
	Listen []Address

	// Handler names a built-in handler; Program is any other program and its
	// arguments. Exactly one of them is set.
	Handler string
	Program []string

	// Handoff is how the connection reaches the handler.
	Handoff Handoff

	// QuitWord, for the echo handler, is the line with which a client ends
	// the connection; empty for none.
	QuitWord string

	// What a worker is born with. Names of users and groups may be numbers.
	User                string
	Group               string
	SupplementaryGroups []string
	Umask               FileMode
	Directory           string
	Env                 []string // "NAME=value", or "NAME" for the master's own value
	Stderr              Stderr

	// MinSpares and MaxSpares bound the number of spares, workers started
	// ahead of their connections. Between the two it follows the demand.
	MinSpares int
	MaxSpares int
	// ConnectionsPerWorker is how many connections a worker serves, one after
	// the other, before it ends. With 1 every connection has a process of its
	// own; more trade that isolation for speed.
	ConnectionsPerWorker int

	// Limits. A number of 0, a duration of 0 and a zero Rate or Drop are none,
	// but for MaxConnections, which is at least 1.
	MaxConnections          int
	MaxConnectionsPerSource int
	SourcePrefixV4          int
	SourcePrefixV6          int
	MaxSources              int
	Overflow                Overflow
	Rate                    Rate
	Burst                   int // 0: as many as the rate's number
	RatePerSource           Rate
	BurstPerSource          int
	RandomEarlyDrop         Drop
	RefuseMessage           string
	MaxLifetime             time.Duration // of a connection
	IdleTimeout             time.Duration // without a byte in either direction

	// Who may connect.
	Allow []PeerSet
	Deny  []PeerSet
	Rules []Rule

	// Penalties for sources whose workers end badly.
	PenaltyExitCodes []int
	PenaltySignals   []unix.Signal
	Penalty          time.Duration // the first one
	PenaltyGrowth    int           // each further one is so many times as long
	PenaltyMax       time.Duration
	PenaltyExempt    []PeerSet
	PenaltyDryRun    bool

	// ProxyProtocol lists the peers whose PROXY header is believed.
	ProxyProtocol []PeerSet
	ProxyTimeout  time.Duration

	// Options of the sockets.
	NoDelay      bool
	Keepalive    time.Duration
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
}

// A Rule changes what holds for some peers. Of all rules, allow and deny
// entries of a service the one with the longest prefix decides.
type Rule struct {
	From   []PeerSet
	Action Action

	Env     []string // added to the service's
	Program []string // in place of the service's; with its handoff

	// Limits in place of the service's; nil: the service's hold.
	MaxConnectionsPerSource *int
	RatePerSource           *Rate
	BurstPerSource          *int
	MaxLifetime             *time.Duration
	IdleTimeout             *time.Duration

	at positions
}

// A Handoff is the way in which a connection reaches its handler.
type Handoff string

const (
	// HandoffWorker gives fd 3 the connection and fd 4 the control channel.
	HandoffWorker Handoff = "worker"
	// HandoffStdio gives fds 0 and 1 the connection, as inetd does.
	HandoffStdio Handoff = "stdio"
	// HandoffSystemd gives fd 3 the connection and sets LISTEN_FDS and its
	// companions, as a systemd socket unit with Accept=yes does (sd_listen_fds(3)).
	HandoffSystemd Handoff = "systemd"
)

// Stderr is where fd 2 of workers leads.
type Stderr string

const (
	StderrInherit Stderr = "inherit" // to the master's own
	StderrNull    Stderr = "null"    // to /dev/null
	StderrLog     Stderr = "log"     // into the log, line by line
)

// LogPeer is how much the log and a status tell of peers.
type LogPeer string

const (
	LogPeerFull   LogPeer = "full"   // addresses and ports
	LogPeerPrefix LogPeer = "prefix" // an IPv4 /24 or an IPv6 /48; of unix sockets the user
	LogPeerNone   LogPeer = "none"   // nothing
)

// Overflow is what becomes of connections beyond MaxConnections.
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

// positions says where keys were written: values by key, items of lists by
// "key[0]", and the whole by "".
type positions map[string]Position
