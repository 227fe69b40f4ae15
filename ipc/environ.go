package ipc

// Environment variables that a worker sees, in every handoff. Nothing else of
// the master's environment reaches it but the variables in Inherited.
//
// The UCSPI names are those of https://cr.yp.to/proto/ucspi.txt and
// ucspi-tcp's tcp-environ(5), REMOTE_ADDR and REMOTE_PORT those of
// systemd.socket(5) for Accept=yes.
const (
	EnvProto         = "PROTO"         // "TCP", or "IPC" for a unix socket
	EnvTCPLocalIP    = "TCPLOCALIP"    // address the client connected to
	EnvTCPLocalPort  = "TCPLOCALPORT"  // port the client connected to, decimal
	EnvTCPRemoteIP   = "TCPREMOTEIP"   // the client's address; a v4-mapped one in its v4 form
	EnvTCPRemotePort = "TCPREMOTEPORT" // the client's port, decimal
	EnvTCPConnNum    = "TCPCONNNUM"    // live connections from that source, this one included

	EnvRemoteAddr = "REMOTE_ADDR" // as TCPREMOTEIP
	EnvRemotePort = "REMOTE_PORT" // as TCPREMOTEPORT

	EnvIPCRemoteEUID = "IPCREMOTEEUID" // effective uid of a unix peer when it connected, decimal
	EnvIPCRemoteEGID = "IPCREMOTEEGID" // effective gid of a unix peer when it connected, decimal
	EnvIPCRemotePath = "IPCREMOTEPATH" // path that a unix peer is bound to; empty when it is not bound

	EnvService    = "PREFORKD_SERVICE"    // name of the service
	EnvConnection = "PREFORKD_CONNECTION" // unique id of the connection, as in the log
	EnvVersion    = "PREFORKD_VERSION"    // the master's version
)

// EnvStdin set to "1" makes a worker built on the SDK that was started by hand,
// without a control channel, serve its standard input and output. No master
// sets it.
const EnvStdin = "PREFORKD_STDIN"

// ProtoTCP and ProtoIPC are the values of EnvProto.
const (
	ProtoTCP = "TCP"
	ProtoIPC = "IPC"
)

// Inherited lists the variables of the master's own environment that workers
// inherit when they are set. The list is short on purpose: a leaked
// NOTIFY_SOCKET, WATCHDOG_PID or LISTEN_FDS makes a worker speak to systemd in
// the master's name.
var Inherited = []string{"PATH", "LANG", "TZ"}
