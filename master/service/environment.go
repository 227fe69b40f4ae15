package service

import (
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/listen"
)

// texts holds strings that thousands of services may have in common, each once.
type texts map[string]string

func (t texts) shared(s string) string {
	if known, ok := t[s]; ok {
		return known
	}
	t[s] = s
	return s
}

// environment returns the part of a service's environment that is the same
// for every connection. Entries of the lists are "NAME=value", or "NAME" for
// the master's own value. A later list wins over an earlier one.
func (t texts) environment(service string, lists ...[]string) []string {
	var env []string
	for _, list := range append([][]string{ipc.InheritedEnv}, lists...) {
		for _, entry := range list {
			name, _, given := strings.Cut(entry, "=")
			if !given {
				value, ok := os.LookupEnv(name)
				if !ok {
					continue
				}
				entry = name + "=" + value
			}
			env = slices.DeleteFunc(env, func(old string) bool { return strings.HasPrefix(old, name+"=") })
			env = append(env, entry)
		}
	}
	for i := range env {
		env[i] = t.shared(env[i])
	}
	env = append(env, ipc.EnvService+"="+service, t.shared(ipc.EnvVersion+"="+ipc.Version))
	return slices.Clone(env)
}

// connectionEnvironment returns base and what is known of a connection. live is
// the number of live connections from the same source, this one included. base
// is not changed.
func connectionEnvironment(base []string, conn *listen.Conn, id string, live int) []string {
	env := make([]string, len(base), len(base)+9)
	copy(env, base)
	env = append(env, ipc.EnvConnection+"="+id)
	if conn.IsUnix() {
		return append(env,
			ipc.EnvProto+"="+ipc.ProtoIPC,
			ipc.EnvIPCRemoteEUID+"="+strconv.FormatUint(uint64(conn.Credentials.Uid), 10),
			ipc.EnvIPCRemoteEGID+"="+strconv.FormatUint(uint64(conn.Credentials.Gid), 10),
			ipc.EnvIPCRemotePath+"="+conn.PeerPath,
		)
	}
	remoteIP := conn.Peer.Addr().String()
	remotePort := strconv.Itoa(int(conn.Peer.Port()))
	return append(env,
		ipc.EnvProto+"="+ipc.ProtoTCP,
		ipc.EnvTCPLocalIP+"="+conn.Local.Addr().String(),
		ipc.EnvTCPLocalPort+"="+strconv.Itoa(int(conn.Local.Port())),
		ipc.EnvTCPRemoteIP+"="+remoteIP,
		ipc.EnvTCPRemotePort+"="+remotePort,
		ipc.EnvTCPConnNum+"="+strconv.Itoa(live),
		ipc.EnvRemoteAddr+"="+remoteIP,
		ipc.EnvRemotePort+"="+remotePort,
	)
}
