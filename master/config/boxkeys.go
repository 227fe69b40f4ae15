package config

import (
	"slices"
	"time"
)

// boxKeys lists the keys of [service.NAME.box], in the order in which they are
// printed. Each is also a flag of serve and check, with boxPrefix in front.
var boxKeys = slices.Concat([]key[Service]{
	boxPresetKey(),
	boxBool("no-new-privileges", "let no program gain privileges when it is executed, such as by its setuid bit", func(b *Box) *bool { return &b.NoNewPrivileges }),
	boxNames("capabilities", "CAPABILITY", "leave only `CAPABILITY`, such as net_bind_service, in the bounding, inheritable and ambient sets; all leaves them as they are, and an empty list leaves none", "all",
		func(b *Box) *[]string { return &b.Capabilities }, parseCapability),

	emptyByFlag(listKey("system-calls", "CALL", "allow only the system call or systemd's set of them `CALL`, such as read or @system-service; with ~ in front it is taken away, and if the first one is, all others are allowed; @basic or @strict, as the first one, stands for the list of that preset; an empty list allows all",
		boxed(func(b *Box) *[]string { return &b.SystemCalls }), parseSystemCall, formatText)),
	choiceKey("system-calls-action", "what becomes of a system call that is not allowed: `SYSTEM-CALLS-ACTION` is errno (it fails with EPERM; the default), kill (it ends its process with SIGSYS) or log (it is allowed, and the log names it)",
		boxed(func(b *Box) *SystemCallsAction { return &b.SystemCallsAction }), SystemCallsErrno, SystemCallsKill, SystemCallsLog),
	boxBool("restrict-namespaces", "deny the creation of namespaces", func(b *Box) *bool { return &b.RestrictNamespaces }),
	boxBool("restrict-realtime", "deny realtime scheduling", func(b *Box) *bool { return &b.RestrictRealtime }),
	boxBool("restrict-suid-sgid", "deny the setting of a file's setuid and setgid bits", func(b *Box) *bool { return &b.RestrictSUIDSGID }),
	boxBool("lock-personality", "deny a change of the execution domain (personality(2))", func(b *Box) *bool { return &b.LockPersonality }),
	boxBool("memory-deny-write-execute", "deny memory that can be written and executed, which just-in-time compilers need", func(b *Box) *bool { return &b.MemoryDenyWriteExecute }),
	boxNames("restrict-address-families", "FAMILY", "allow new sockets only of `FAMILY`, such as unix or inet6; any allows all, and an empty list none. The connection itself always works", "any",
		func(b *Box) *[]string { return &b.RestrictAddressFamilies }, parseAddressFamily),

	boxBool("private-network", "an empty network, whose loopback is down", func(b *Box) *bool { return &b.PrivateNetwork }),
	boxBool("private-ipc", "System V IPC and POSIX message queues of each connection's own", func(b *Box) *bool { return &b.PrivateIPC }),
	boxBool("protect-hostname", "a host name whose change nobody else sees", func(b *Box) *bool { return &b.ProtectHostname }),
	boxBool("private-pids", "process ids of each connection's own: it sees no other processes, and all of its own end with it", func(b *Box) *bool { return &b.PrivatePIDs }),

	choiceKey("protect-system", "what of the file system is read-only: `PROTECT-SYSTEM` is no (nothing) or strict (all but read-write-paths and /proc, which protect-kernel is about)",
		boxed(func(b *Box) *ProtectSystem { return &b.ProtectSystem }), ProtectSystemNo, ProtectSystemStrict),
	boxPaths("read-write-paths", parseListedPath, "leave `PATH` writable where protect-system or read-only-paths would not; with - in front it may be missing, here and in the next three", func(b *Box) *[]string { return &b.ReadWritePaths }),
	boxPaths("read-only-paths", parseListedPath, "make `PATH` read-only, with all below; / is everything", func(b *Box) *[]string { return &b.ReadOnlyPaths }),
	boxPaths("inaccessible-paths", parseListedPath, "hide what is at `PATH`", func(b *Box) *[]string { return &b.InaccessiblePaths }),
	listKey("bind-paths", "SOURCE:TARGET", "show a file or directory in the box at another place: `SOURCE:TARGET`, with :ro at the end read-only; without a target at its own",
		boxed(func(b *Box) *[]BindPath { return &b.BindPaths }), parseBindPath, BindPath.String),
	parsedKey("root-directory", "PATH", "make the directory `PATH` the root of the box; the program, its interpreter, the service's directory and all paths but the sources of bind-paths are then looked for there",
		boxed(func(b *Box) *string { return &b.RootDirectory }), parseOptionalPath, formatText),
	boxPaths("temporary-file-system", parsePath, "an empty, read-only directory at `PATH`", func(b *Box) *[]string { return &b.TemporaryFileSystem }),
	boxBool("private-tmp", "an empty /tmp, /var/tmp and /dev/shm of each connection's own, gone with it", func(b *Box) *bool { return &b.PrivateTmp }),
	orInteger(parsedKey("private-tmp-size", "SIZE", "let each directory of private-tmp hold at most `SIZE`",
		boxed(func(b *Box) *ByteSize { return &b.PrivateTmpSize }), parseTmpSize, ByteSize.String)),
	boxBool("private-devices", "a /dev with null, zero, full, random, urandom and tty only", func(b *Box) *bool { return &b.PrivateDevices }),
	boxBool("protect-proc", "a /proc without processes of others", func(b *Box) *bool { return &b.ProtectProc }),
	boxBool("protect-home", "empty directories in place of /home, /root and /run/user", func(b *Box) *bool { return &b.ProtectHome }),
	boxBool("protect-kernel", "no writing to the kernel's settings, no reading of its log, no modules and no cgroups", func(b *Box) *bool { return &b.ProtectKernel }),

	boxBool("dynamic-user", "run the worker of each connection as a user and group of its own, out of user-pool", func(b *Box) *bool { return &b.DynamicUser }),
	parsedKey("user-pool", "FIRST-LAST", "the uids of dynamic-user, `FIRST-LAST`, which no account has; there are no more connections at once than these",
		boxed(func(b *Box) *UserRange { return &b.UserPool }), ParseUserRange, UserRange.String),
},
	limitKeys(),
	cgroupKeys("", "a connection", func(b *Box) *CgroupLimits { return &b.Cgroup }),
	cgroupKeys(servicePrefix, "all of the service", func(b *Box) *CgroupLimits { return &b.ServiceCgroup }),
	[]key[Service]{
		runtimeMaxKey(),
		durationKey("cpu-time-max", "end a connection that has used `DURATION` of CPU time; 0s is never", boxed(func(b *Box) *time.Duration { return &b.CPUTimeMax })),
		boxOOMScoreAdjustKey(),
		niceKey(),
		parsedKey("cpu-affinity", "CPUS", "run workers on the processors `CPUS` only, such as 0-3,8; \"\" is on any", boxed(func(b *Box) *[]int { return &b.CPUAffinity }), parseProcessors, formatProcessors),
		parsedKey("io-class", "CLASS", "give the workers' disk access the class `CLASS`: realtime, best-effort (both also with a level, :0 is the first and :7 the last) or idle; \"\" is preforkd's own (ioprio_set(2))",
			boxed(func(b *Box) *string { return &b.IOClass }), parseIOClass, formatText),
		requireKey(),
		textsKey("optional", "KEY", "`KEY`s of the box that may be missing on this machine. Without this, and without require, it is an error at the start if anything that the box asks for cannot be had",
			boxed(func(b *Box) *[]string { return &b.Optional })),
	})

// boxPrefix begins the flags of the box.
const boxPrefix = "box-"
