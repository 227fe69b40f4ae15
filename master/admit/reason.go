package admit

// A Reason says why a connection was refused. The list is closed, and the
// reasons are stable: they stand in the log and in the counters.
type Reason uint8

const (
	Denied                  Reason = iota // an address rule
	Penalized                             // earlier workers of the source ended badly
	EarlyDrop                             // at random, because the service fills up
	MaxConnectionsPerSource               // the source has its share of slots
	RatePerSource                         // the source comes too often
	RateOfService                         // connections come too fast
	MaxConnections                        // the service is full and does not let wait

	ProxyMissing   // a believed proxy sent no PROXY header
	ProxyMalformed // its header breaks the specification
	ProxyOversized // its header is larger than any should be
	ProxyTimeout   // its header took longer than proxy-timeout
	ProxyCrowded   // too many others wait for their header; this one waited longest

	Draining // the service stops before the connection could be admitted

	// Reasons is how many there are.
	Reasons
)

var reasonNames = [Reasons]string{
	"denied", "penalty", "early-drop", "max-connections-per-source", "rate-per-source", "rate", "max-connections",
	"proxy-missing", "proxy-malformed", "proxy-oversized", "proxy-timeout", "proxy-crowded",
	"draining",
}

func (r Reason) String() string { return reasonNames[r] }
