package config

import "time"

// A BoxPreset is the set of values that a box starts from.
type BoxPreset string

const (
	BoxNone   BoxPreset = "none"
	BoxBasic  BoxPreset = "basic"
	BoxStrict BoxPreset = "strict"
)

// A SystemCallsAction says what becomes of a system call that a box denies.
type SystemCallsAction string

const (
	SystemCallsErrno SystemCallsAction = "errno"
	SystemCallsKill  SystemCallsAction = "kill"
	SystemCallsLog   SystemCallsAction = "log"
)

// A ProtectSystem says how much of the file system a box may write to.
type ProtectSystem string

const (
	ProtectSystemNo     ProtectSystem = "no"
	ProtectSystemStrict ProtectSystem = "strict" // nothing
)

// A Box is what a process of a service may see, do and use: the keys of
// [service.NAME.box]. The preset's values are in it already. The zero Box is
// none.
type Box struct {
	Preset BoxPreset

	NoNewPrivileges bool
	// Capabilities is what is left in the bounding, inheritable and ambient
	// sets: lower-case names without "cap_". Nil leaves the sets as they are, and
	// an empty list empties them.
	Capabilities []string

	// SystemCalls holds names of system calls and of systemd's sets ("@mount");
	// "~" takes away. Nil restricts nothing. A list whose first entry begins with
	// "~" takes away from all, any other list allows nothing else. The first entry may
	// be "@basic" or "@strict" for the list of that preset (SystemCallList).
	SystemCalls            []string
	SystemCallsAction      SystemCallsAction
	RestrictNamespaces     bool
	RestrictRealtime       bool
	RestrictSUIDSGID       bool
	LockPersonality        bool
	MemoryDenyWriteExecute bool
	// RestrictAddressFamilies holds the families of new sockets: "unix", "inet",
	// "inet6", "netlink", "packet" and so on. Nil restricts nothing, and an empty
	// list denies every family.
	RestrictAddressFamilies []string

	PrivateNetwork  bool
	PrivateIPC      bool
	ProtectHostname bool
	PrivatePIDs     bool

	// A "-" before a path of the first three lists means that it may be missing.
	ProtectSystem       ProtectSystem
	ReadWritePaths      []string
	ReadOnlyPaths       []string
	InaccessiblePaths   []string
	BindPaths           []BindPath
	RootDirectory       string
	TemporaryFileSystem []string // directories
	PrivateTmp          bool
	PrivateTmpSize      ByteSize // of each private temporary file system; never 0
	PrivateDevices      bool
	ProtectProc         bool
	ProtectHome         bool
	ProtectKernel       bool

	DynamicUser bool
	UserPool    UserRange

	// Limits are resource limits by the name that setrlimit(2) has, in lower case
	// and without "RLIMIT_".
	Limits map[string]Limit

	// What the cgroup of each connection may use, and that of all of a service.
	// The zero CgroupLimits limits nothing.
	Cgroup        CgroupLimits
	ServiceCgroup CgroupLimits

	// CPUTimeMax is of a connection, in user and system mode; 0 is no limit. The
	// key runtime-max is not here, because it sets MaxLifetime of the service.
	CPUTimeMax time.Duration

	// The key oom-score-adjust sets OOMScoreAdjust of the service.

	Nice        OptionalInt
	CPUAffinity []int  // processors, in rising order; nil is any
	IOClass     string // "", "realtime", "best-effort" or "idle"; the first two may have ":N" for a level

	// Optional names the keys that may be missing on this machine.
	Optional []string
	// Implied names the keys by which the box asks for something only because it is the
	// default box of a built-in handler. They may be missing as well.
	Implied []string
}

// A BindPath makes a file or directory appear in a box at another place. A "-" before
// the source means that it may be missing.
type BindPath struct {
	Source, Target string
	ReadOnly       bool
}

// A UserRange is a range of user ids, both ends included.
type UserRange struct{ First, Last uint32 }

// A ByteSize is a number of bytes. 0 is no limit.
type ByteSize uint64

// A Limit is a resource limit. Either part may be NoLimit.
type Limit struct{ Soft, Hard uint64 }

// NoLimit is a resource limit that limits nothing (RLIM_INFINITY).
const NoLimit = ^uint64(0)

// CgroupLimits are limits of a cgroup of version 2. Zero values limit nothing.
type CgroupLimits struct {
	MemoryMax     ByteSize
	MemoryHigh    ByteSize
	MemorySwapMax *ByteSize // nil is no limit, 0 is no swap
	TasksMax      int
	CPUQuota      int // percent of one processor
	CPUWeight     int // 1 to 10000
	IOWeight      int // 1 to 10000
}
