package ipc

// These are the environment variables that a worker sees, in every handoff. Of the
// master's own environment, a worker gets only the variables in InheritedEnv.
//
// The UCSPI names are those of https://cr.yp.to/proto/ucspi.txt and ucspi-tcp's
// tcp-environ(5). REMOTE_ADDR and REMOTE_PORT are those of systemd.socket(5) for
// Accept=yes.
const (
	EnvProto         = "PROTO"         // "TCP", or "IPC" for a unix socket
	EnvTCPLocalIP    = "TCPLOCALIP"    // address that the client connected to
	EnvTCPLocalPort  = "TCPLOCALPORT"  // port that the client connected to, decimal
	EnvTCPRemoteIP   = "TCPREMOTEIP"   // the client's address; an IPv4-mapped address in its IPv4 form
	EnvTCPRemotePort = "TCPREMOTEPORT" // the client's port, decimal
	EnvTCPConnNum    = "TCPCONNNUM"    // live connections from the client's source, including this one

	EnvRemoteAddr = "REMOTE_ADDR" // as TCPREMOTEIP
	EnvRemotePort = "REMOTE_PORT" // as TCPREMOTEPORT

	EnvIPCRemoteEUID = "IPCREMOTEEUID" // effective uid of a unix peer at connect time, decimal
	EnvIPCRemoteEGID = "IPCREMOTEEGID" // effective gid of a unix peer at connect time, decimal
	EnvIPCRemotePath = "IPCREMOTEPATH" // path that a unix peer is bound to; empty when the peer is not bound

	EnvService    = "PREFORKD_SERVICE"    // name of the service
	EnvConnection = "PREFORKD_CONNECTION" // unique id of the connection, as in the log
	EnvVersion    = "PREFORKD_VERSION"    // the master's version
)

// EnvStdin set to "1" makes an SDK worker serve its standard input and output. It is
// for workers that a person starts by hand, without a control channel. The master never
// sets it.
const EnvStdin = "PREFORKD_STDIN"

// ProtoTCP and ProtoIPC are the values of EnvProto.
const (
	ProtoTCP = "TCP"
	ProtoIPC = "IPC"
)

// InheritedEnv lists the variables of the master's own environment that workers inherit
// when the variables are set. The list is short on purpose. With a leaked
// NOTIFY_SOCKET, WATCHDOG_PID or LISTEN_FDS a worker would speak to systemd in the
// master's name.
var InheritedEnv = []string{"PATH", "LANG", "TZ"}
