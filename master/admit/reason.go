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
	ProxyOversized // a header of version 1 is too long
	ProxyTimeout   // the header took longer than proxy-timeout
	ProxyCrowded   // too many connections wait for their header, or take too much memory for it

	Draining // the service stopped before the connection was admitted
	Gone     // the client went away while it waited

	// Reasons is the number of reasons.
	Reasons
)

var reasonNames = [Reasons]string{
	"denied", "penalty", "early-drop", "max-connections-per-source", "rate-per-source", "rate", "max-connections",
	"proxy-missing", "proxy-malformed", "proxy-oversized", "proxy-timeout", "proxy-crowded",
	"draining", "gone",
}

func (r Reason) String() string { return reasonNames[r] }

// ReasonNames returns the names of all reasons.
func ReasonNames() []string { return reasonNames[:] }
