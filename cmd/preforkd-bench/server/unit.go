package server

import "fmt"

// A Unit is a server that systemd is itself: a socket that it accepts on, and
// a service of which it starts an instance for each connection.
type Unit struct {
	Socket  string // text of the socket unit
	Service string // text of the template
	Program string // path, on the host, of what the service starts as UnitProgram
}

// UnitProgram is where the program of a unit is found by systemd. A unit with a
// private /tmp would not see it in the directory of the run.
const UnitProgram = "/run/preforkd-bench/program"

// acceptSocket lifts what would stop the socket, or refuse, under a load that
// is meant: at most 64 connections at once, 200 in two seconds, and, with
// systemd since 255, 150 looks at the socket in two seconds. An older one logs
// that it does not know the last.
const acceptSocket = `[Unit]
Description=Echo, a process for each connection

[Socket]
ListenStream=127.0.0.1:%d
Accept=yes
Backlog=%d
MaxConnections=%d
TriggerLimitIntervalSec=0
PollLimitIntervalSec=0
`

// acceptService is as units of this kind are: the minus keeps a connection
// that ends in an error from leaving a failed unit behind.
const acceptService = `[Unit]
Description=Echo for one connection

[Service]
ExecStart=-%s
StandardInput=socket
%s`

// sandbox is what systemd.exec(5) has for a service that needs its connection
// and nothing else, and what systemd-analyze security asks for. It is short of
// namespaces of users and networks, for which few units are ready.
const sandbox = `DynamicUser=yes
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=yes
ProtectProc=invisible
ProcSubset=pid
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
PrivateDevices=yes
PrivateTmp=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
UMask=0077
`

// unitExcept is what a unit is left out of.
var unitExcept = map[string]string{
	"open":   "it starts fewer services a second than the rate, so its queue would only grow",
	"idle":   "ten thousand services take it minutes to start",
	"growth": "ten thousand services take it minutes to start",
}

// acceptUnit returns units whose service starts the static C echo, with further
// options.
func acceptUnit(options string) func(Site) (Unit, error) {
	return func(s Site) (Unit, error) {
		echo, err := s.EchoPath()
		return Unit{
			Socket:  fmt.Sprintf(acceptSocket, s.Port, Backlog, maxConnections),
			Service: fmt.Sprintf(acceptService, UnitProgram, options),
			Program: echo,
		}, err
	}
}
