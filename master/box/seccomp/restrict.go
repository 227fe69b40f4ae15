package seccomp

import "golang.org/x/sys/unix"

const (
	// newNamespaces are the flags with which clone makes a namespace. CLONE_NEWTIME
	// is not one of them: for clone its bit belongs to a signal number (clone(2)).
	newNamespaces = unix.CLONE_NEWCGROUP | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWNS |
		unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWUTS

	// unshareOther are the flags of unshare that make no namespace (unshare(2)).
	unshareOther = unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_SYSVSEM |
		unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_VM

	// openTreeNamespace and fsmountNamespace return a new mount namespace
	// (linux/mount.h, Linux 7.0 and 7.1).
	openTreeNamespace = 1 << 1
	fsmountNamespace  = 1 << 1

	// createsFile are the flags of open with which its mode counts: O_CREAT and
	// __O_TMPFILE. O_TMPFILE has the bit of O_DIRECTORY too, which is another one on
	// arm64. All other constants here are the same on both architectures.
	createsFile = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY

	setIDs = unix.S_ISUID | unix.S_ISGID

	// readImpliesExec makes all readable memory executable, and personalityQuery
	// changes nothing (linux/personality.h, personality(2)).
	readImpliesExec  = 0x0400000
	personalityLinux = 0
	personalityQuery = 0xffffffff

	shmExec = 0o100000 // SHM_EXEC, linux/shm.h
)

// restrictions returns the rules of each call, by name. They are those of systemd's
// seccomp-util.c, and those that close the ways around them which are named below.
func restrictions(c *Config) map[string][]rule {
	rules := map[string][]rule{}
	deny := func(name string, e unix.Errno, conditions ...condition) {
		rules[name] = append(rules[name], rule{errno(e), conditions})
	}
	if c.RestrictParents {
		deny("clone", unix.EPERM, anyBits(0, unix.CLONE_PARENT))
		deny("clone3", unix.ENOSYS)
	}
	if c.RestrictNamespaces {
		deny("clone", unix.EPERM, anyBits(0, newNamespaces))
		deny("clone3", unix.ENOSYS)
		// A flag that is not known here may make a namespace, as UNSHARE_EMPTY_MNTNS
		// does.
		deny("unshare", unix.EPERM, anyBits(0, ^uint32(unshareOther)))
		deny("unshare", unix.EPERM, condition{argument: 0, upper: true, test: anyBit, mask: ^uint32(0)})
		deny("setns", unix.EPERM)
		deny("open_tree", unix.EPERM, anyBits(2, openTreeNamespace))
		deny("open_tree_attr", unix.EPERM, anyBits(2, openTreeNamespace))
		deny("fsmount", unix.EPERM, anyBits(1, fsmountNamespace))
	}
	if c.RestrictRealtime {
		deny("sched_setscheduler", unix.EPERM,
			none(1, unix.SCHED_RESET_ON_FORK, unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE))
		deny("sched_setattr", unix.ENOSYS)
	}
	if c.RestrictSUIDSGID {
		for name, mode := range map[string]int{
			"chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2,
			"mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2, "creat": 1,
		} {
			deny(name, unix.EPERM, anyBits(mode, setIDs))
		}
		deny("open", unix.EPERM, anyBits(1, createsFile), anyBits(2, setIDs))
		deny("openat", unix.EPERM, anyBits(2, createsFile), anyBits(3, setIDs))
		deny("openat2", unix.ENOSYS)
	}
	if c.LockPersonality {
		deny("personality", unix.EPERM, none(0, 0, personalityLinux, personalityQuery))
	}
	if c.MemoryDenyWriteExecute {
		deny("mmap", unix.EPERM, condition{argument: 2, test: allBits, mask: unix.PROT_WRITE | unix.PROT_EXEC})
		deny("mprotect", unix.EPERM, anyBits(2, unix.PROT_EXEC))
		deny("pkey_mprotect", unix.EPERM, anyBits(2, unix.PROT_EXEC))
		deny("shmat", unix.EPERM, anyBits(2, shmExec))
		// What is mapped writable afterwards would be executable too.
		deny("personality", unix.EPERM, anyBits(0, readImpliesExec), none(0, 0, personalityQuery))
	}
	if c.AddressFamilies != nil {
		families := make([]uint32, 0, len(c.AddressFamilies))
		for _, f := range c.AddressFamilies {
			families = append(families, uint32(f))
		}
		deny("socket", unix.EAFNOSUPPORT, none(0, 0, families...))
		deny("socketpair", unix.EAFNOSUPPORT, none(0, 0, families...))
	}
	if c.RestrictSUIDSGID || c.AddressFamilies != nil {
		// A ring opens files and sockets without a system call that a filter sees. EPERM is
		// what these calls return where they are turned off (io_uring_disabled, sysctl).
		deny("io_uring_setup", unix.EPERM)
		deny("io_uring_enter", unix.EPERM)
		deny("io_uring_register", unix.EPERM)
	}
	return rules
}
