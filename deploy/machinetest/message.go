package machinetest

// What is said on the virtio port, in JSON:
//
//	outside                       inside
//	          <- Ready, or Error          when preforkd is installed, or cannot be
//	command   ->                          run the test binary
//	          <- Output ...               of stdout and stderr, in order
//	          <- Ended, or Error          with the exit code, or why there is none
//	command   ->                          and so on
//
// The end of the stream ends the machine.

// portName is the name of the port. Inside it is a file of /dev/virtio-ports.
const portName = "preforkd"

// A command is the test binary, with its arguments and with variables that are added
// to the environment.
type command struct {
	Args []string
	Env  []string
}

// A reply has one of its fields set, but for the exit code.
type reply struct {
	Ready    bool   `json:",omitempty"`
	Output   []byte `json:",omitempty"`
	Ended    bool   `json:",omitempty"`
	ExitCode int    `json:",omitempty"` // -1 after a signal
	Error    string `json:",omitempty"`
}
