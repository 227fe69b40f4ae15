package workers

// A State is where a worker stands in the dialogue of package ipc.
//
//	spare:   Starting --ready--> Idle --assignment--> Assigned --ack--> Serving
//	other:   Serving from its start
//	reused:  Serving --ready--> Idle
//	at last: Retiring (told to go), Broken (has to be ended), or its exit
type State uint8

const (
	Starting State = iota // a spare that is not ready yet
	Idle                  // a spare that waits in the pool
	Assigned              // a connection is on its way to it
	Serving               // it has the connection
	Retiring              // it has been told to go
	Broken                // it broke the contract, or its channel is closed: it is being ended
)

func (s State) String() string {
	return [...]string{"starting", "idle", "assigned", "serving", "retiring", "broken"}[s]
}
