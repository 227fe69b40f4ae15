package admit

// A Reason says why a connection was refused. The names of the reasons appear
// in the log and in the metrics, so they do not change.
type Reason uint8

const (
	Denied                  Reason = iota // an address rule
	Penalized                             // earlier workers of the source ended badly
	EarlyDrop                             // at random, because the service fills up
	MaxConnectionsPerSource               // the source has as many slots as it may have
	RatePerSource                         // the source comes too often
	RateOfService                         // connections come too often
	MaxConnections                        // the service is full, and connections do not wait

	ProxyMissing   // a trusted proxy sent no PROXY header
	ProxyMalformed // the header violates the specification
	ProxyOversized // the header is too large
	ProxyTimeout   // the header took longer than proxy-timeout
	ProxyCrowded   // too many connections wait for their header, and this one has waited longest

	Draining // the service stopped before the connection was admitted

	// Reasons is the number of reasons.
	Reasons
)

var reasonNames = [Reasons]string{
	"denied", "penalty", "early-drop", "max-connections-per-source", "rate-per-source", "rate", "max-connections",
	"proxy-missing", "proxy-malformed", "proxy-oversized", "proxy-timeout", "proxy-crowded",
	"draining",
}

func (r Reason) String() string { return reasonNames[r] }
