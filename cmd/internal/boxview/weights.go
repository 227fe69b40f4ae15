package boxview

import (
	"slices"

	"github.com/preforkd/preforkd/master/config"
)

// A User says who the workers of a service are without dynamic-user.
type User struct{ Root bool }

// A Weight is what a key counts for in the score.
type Weight struct {
	Key    string
	Points float64 // if all is open
	Why    string  // what is open, for the manual
	// open returns how much is open, from 0 to 1.
	open func(b *config.Box, u User) float64
}

// Weights lists the weights. Their sum is 10.
var Weights = []Weight{
	{"no-new-privileges", 0.7, "setuid programs", off(func(b *config.Box) bool { return b.NoNewPrivileges })},
	{"capabilities", 1.0, "capabilities; a third with harmless ones only", openCapabilities},
	{"system-calls", 0.9, "all system calls; a half where only some are taken away", openSystemCalls},
	{"restrict-namespaces", 0.5, "namespaces of its own, with more of the kernel in reach", off(func(b *config.Box) bool { return b.RestrictNamespaces })},
	{"restrict-realtime", 0.1, "realtime scheduling", off(func(b *config.Box) bool { return b.RestrictRealtime })},
	{"restrict-suid-sgid", 0.2, "leaving setuid files behind", off(func(b *config.Box) bool { return b.RestrictSUIDSGID })},
	{"lock-personality", 0.1, "old execution domains", off(func(b *config.Box) bool { return b.LockPersonality })},
	{"memory-deny-write-execute", 0.2, "code that is written while it runs", off(func(b *config.Box) bool { return b.MemoryDenyWriteExecute })},
	{"restrict-address-families", 0.4, "sockets of all families; a half with IP", openFamilies},
	{"private-network", 0.9, "the network", off(func(b *config.Box) bool { return b.PrivateNetwork })},
	{"private-ipc", 0.3, "System V IPC and message queues of others", off(func(b *config.Box) bool { return b.PrivateIPC })},
	{"protect-hostname", 0.1, "the host name", off(func(b *config.Box) bool { return b.ProtectHostname })},
	{"private-pids", 0.6, "processes of others", off(func(b *config.Box) bool { return b.PrivatePIDs })},
	{"protect-system", 0.9, "all files that its user may write; a third with some paths writable or another root", openFiles},
	{"private-tmp", 0.4, "/tmp", off((*config.Box).HidesTmp)},
	{"private-devices", 0.4, "devices", off(func(b *config.Box) bool { return b.PrivateDevices })},
	{"protect-proc", 0.2, "/proc of others", off(func(b *config.Box) bool { return b.ProtectProc || b.PrivatePIDs })},
	{"protect-home", 0.4, "/home and /root", off(func(b *config.Box) bool { return b.ProtectHome || b.RootDirectory != "" })},
	{"protect-kernel", 0.4, "settings of the kernel", off(func(b *config.Box) bool { return b.ProtectKernel })},
	{"dynamic-user", 0.8, "what belongs to its user; a half if that is not root", openUser},
	{"memory-max", 0.2, "all memory", off(func(b *config.Box) bool { return b.Cgroup.MemoryMax > 0 || b.ServiceCgroup.MemoryMax > 0 })},
	{"tasks-max", 0.2, "all process ids; a half with limit-nproc", openTasks},
	{"cpu-quota", 0.1, "all CPU time", off(func(b *config.Box) bool {
		return b.Cgroup.CPUQuota > 0 || b.ServiceCgroup.CPUQuota > 0 || b.CPUTimeMax > 0
	})},
}

// off makes a function of what is wholly closed or wholly open.
func off(closed func(*config.Box) bool) func(*config.Box, User) float64 {
	return func(b *config.Box, _ User) float64 {
		if closed(b) {
			return 0
		}
		return 1
	}
}

// harmless are capabilities that give nothing of others.
var harmless = []string{"net_bind_service", "kill", "chown", "fsetid", "fowner", "setfcap", "audit_write", "ipc_lock", "lease", "wake_alarm", "block_suspend"}

func openCapabilities(b *config.Box, _ User) float64 {
	switch {
	case b.Capabilities == nil:
		return 1
	case len(b.Capabilities) == 0:
		return 0
	case slices.ContainsFunc(b.Capabilities, func(c string) bool { return !slices.Contains(harmless, c) }):
		return 1
	}
	return 1. / 3
}

func openSystemCalls(b *config.Box, _ User) float64 {
	switch list := b.SystemCallList(); {
	case len(list) == 0, b.SystemCallsAction == config.SystemCallsLog:
		return 1
	case list[0][0] == '~':
		return 0.5
	}
	return 0
}

func openFamilies(b *config.Box, _ User) float64 {
	switch {
	case b.RestrictAddressFamilies == nil:
		return 1
	case slices.ContainsFunc(b.RestrictAddressFamilies, func(f string) bool { return f != "unix" && f != "inet" && f != "inet6" }):
		return 1
	case slices.Contains(b.RestrictAddressFamilies, "inet"), slices.Contains(b.RestrictAddressFamilies, "inet6"):
		return 0.5
	}
	return 0
}

func openFiles(b *config.Box, _ User) float64 {
	writable := len(b.ReadWritePaths) > 0 || slices.ContainsFunc(b.BindPaths, func(p config.BindPath) bool { return !p.ReadOnly })
	switch readOnly := b.IsReadOnly(); {
	case readOnly && !writable:
		return 0
	case readOnly, b.RootDirectory != "":
		return 1. / 3
	}
	return 1
}

func openUser(b *config.Box, u User) float64 {
	switch {
	case b.DynamicUser:
		return 0
	case u.Root:
		return 1
	}
	return 0.5
}

func openTasks(b *config.Box, _ User) float64 {
	switch _, limited := b.Limits["nproc"]; {
	case b.Cgroup.TasksMax > 0 || b.ServiceCgroup.TasksMax > 0:
		return 0
	case limited && b.DynamicUser: // the limit counts the processes of a user
		return 0.5
	}
	return 1
}

// Exposure returns the score of a box: from 0, where all is closed, to 10.
func Exposure(b *config.Box, u User) (score float64) {
	for _, w := range Weights {
		score += w.Points * w.open(b, u)
	}
	return score
}

// Levels are the words for scores, each with the score that it ends below.
var Levels = []struct {
	Below float64
	Word  string
}{{1, "SAFE"}, {3, "OK"}, {6, "MEDIUM"}, {8.5, "EXPOSED"}, {11, "UNSAFE"}}

// Level returns the word for a score.
func Level(score float64) string {
	for _, l := range Levels {
		if score < l.Below {
			return l.Word
		}
	}
	return ""
}
