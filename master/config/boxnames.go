package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// limitResources holds the resources of setrlimit(2).
var limitResources = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA,
	"fsize": unix.RLIMIT_FSIZE, "locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE,
	"nice": unix.RLIMIT_NICE, "nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS,
	"rtprio": unix.RLIMIT_RTPRIO, "rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// LimitResource returns the number of a resource of Box.Limits, for prlimit(2).
func LimitResource(name string) (int, bool) {
	n, ok := limitResources[name]
	return n, ok
}

// LimitName returns the name of a resource of setrlimit(2) in Box.Limits, or "".
func LimitName(resource int) string {
	for name, n := range limitResources {
		if n == resource {
			return name
		}
	}
	return ""
}

// capabilities lists all capabilities by number (linux/capability.h).
var capabilities = []string{
	"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid", "setpcap",
	"linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice",
	"sys_resource", "sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap",
	"mac_override", "mac_admin", "syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf",
	"checkpoint_restore",
}

// CapabilityNumber returns the number of a capability of Box.Capabilities.
func CapabilityNumber(name string) (int, bool) {
	n := slices.Index(capabilities, name)
	return n, n >= 0
}

// CapabilityName returns the name of a capability by its number, as Box.Capabilities
// has it. One that is newer than the table has its number for a name.
func CapabilityName(number int) string {
	if number < len(capabilities) {
		return capabilities[number]
	}
	return strconv.Itoa(number)
}

// addressFamilies holds the families of sockets (linux/socket.h).
var addressFamilies = map[string]int{
	"unix": unix.AF_UNIX, "inet": unix.AF_INET, "inet6": unix.AF_INET6, "netlink": unix.AF_NETLINK, "packet": unix.AF_PACKET,
	"alg": unix.AF_ALG, "appletalk": unix.AF_APPLETALK, "atmpvc": unix.AF_ATMPVC, "atmsvc": unix.AF_ATMSVC, "ax25": unix.AF_AX25,
	"bluetooth": unix.AF_BLUETOOTH, "caif": unix.AF_CAIF, "can": unix.AF_CAN, "ib": unix.AF_IB,
	"ieee802154": unix.AF_IEEE802154, "ipx": unix.AF_IPX, "isdn": unix.AF_ISDN, "iucv": unix.AF_IUCV, "kcm": unix.AF_KCM,
	"key": unix.AF_KEY, "llc": unix.AF_LLC, "mctp": unix.AF_MCTP, "mpls": unix.AF_MPLS, "netrom": unix.AF_NETROM, "nfc": unix.AF_NFC,
	"phonet": unix.AF_PHONET, "pppox": unix.AF_PPPOX, "qipcrtr": unix.AF_QIPCRTR, "rds": unix.AF_RDS, "rose": unix.AF_ROSE,
	"rxrpc": unix.AF_RXRPC, "smc": unix.AF_SMC, "tipc": unix.AF_TIPC, "vsock": unix.AF_VSOCK, "x25": unix.AF_X25, "xdp": unix.AF_XDP,
}

// AddressFamily returns the number of a family of Box.RestrictAddressFamilies,
// for socket(2).
func AddressFamily(name string) (int, bool) {
	n, ok := addressFamilies[name]
	return n, ok
}

// AddressFamilyName returns the name of a family of socket(2) in
// Box.RestrictAddressFamilies. It reports false for a number that has none.
func AddressFamilyName(number int) (string, bool) {
	for name, n := range addressFamilies {
		if n == number {
			return name, true
		}
	}
	return "", false
}

// parseCapability parses a capability's name as this package or the kernel
// writes it: "net_raw" or "CAP_NET_RAW".
func parseCapability(s string) (string, error) {
	name := strings.TrimPrefix(strings.ToLower(s), "cap_")
	if _, ok := CapabilityNumber(name); !ok {
		return "", fmt.Errorf("there is no such capability; %s", suggestion(name, capabilities))
	}
	return name, nil
}

// parseAddressFamily parses a family's name: "inet6" or "AF_INET6".
func parseAddressFamily(s string) (string, error) {
	name := strings.TrimPrefix(strings.ToLower(s), "af_")
	if _, ok := AddressFamily(name); !ok {
		return "", fmt.Errorf("there is no such family of sockets; %s", suggestion(name, slices.Collect(maps.Keys(addressFamilies))))
	}
	return name, nil
}

// parseSystemCall parses the name of a system call or of a set, which may have a
// "~" in front, or of a preset's list.
func parseSystemCall(s string) (string, error) {
	name, takesAway := strings.CutPrefix(s, "~")
	if _, named := presetCalls(name); named {
		if takesAway {
			return "", fmt.Errorf("the list of a preset cannot be taken away")
		}
		return s, nil
	}
	return s, syscalls.Check(s)
}
