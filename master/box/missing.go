package box

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/stub"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/osthread"
)

// A MissingError says that this machine, or what the master may do here, cannot
// give what a key asks for.
type MissingError struct {
	Key     string // as it is configured
	Missing string
	Remedy  string
	Err     error // what the kernel has said, or nil
}

func (e *MissingError) Error() string { return fmt.Sprintf("%s: %s: %s", e.Key, e.Need(), e.Remedy) }

// Need returns what is missing, as a phrase after the key.
func (e *MissingError) Need() string {
	if e.Err == nil {
		return "needs " + e.Missing
	}
	return fmt.Sprintf("needs %s (%v)", e.Missing, e.Err)
}

func (e *MissingError) Unwrap() error { return e.Err }

// keyOfCapability returns the key for which the entry needs a capability.
func keyOfCapability(b *config.Box, c uintptr) string {
	for _, name := range b.Capabilities {
		if number, _ := config.CapabilityNumber(name); uintptr(number) == c {
			return "capabilities"
		}
	}
	switch {
	case c == unix.CAP_SYS_RESOURCE:
		return "limit-" + raised(b)
	case c == unix.CAP_SYS_NICE:
		return "nice"
	case strings.HasPrefix(b.IOClass, "realtime"):
		return "io-class"
	}
	return keyOfFilter(b)
}

// missingCapability says what a key lacks where the master lacks a capability.
func missingCapability(b *config.Box, key string, c uintptr) string {
	if key == keyOfFilter(b) && !b.NoNewPrivileges {
		return capabilityName(c) + ", or no-new-privileges"
	}
	return capabilityName(c)
}

// raised returns the first limit that is above the master's own hard limit.
func raised(b *config.Box) string {
	for _, name := range slices.Sorted(maps.Keys(b.Limits)) {
		resource, _ := config.LimitResource(name)
		var own unix.Rlimit
		if unix.Getrlimit(resource, &own) != nil || b.Limits[name].Hard > own.Max {
			return name
		}
	}
	return ""
}

// keyOfFilter returns a key for which the box has a filter of system calls, or "".
func keyOfFilter(b *config.Box) string {
	for _, key := range []string{
		"system-calls", "restrict-address-families", "restrict-namespaces", "restrict-realtime", "restrict-suid-sgid", "lock-personality",
		"memory-deny-write-execute",
	} {
		if b.Asks(key) {
			return key
		}
	}
	return ""
}

// keyOfMount returns the key for which each cell has a mount of its own.
func keyOfMount(b *config.Box, target string) string {
	switch {
	case target == "/proc" || strings.HasPrefix(target, "/proc/"):
		return "private-pids"
	case !b.PrivateTmp:
		return "private-devices" // /dev/shm
	}
	return "private-tmp"
}

// explainMount makes the failure of a cell's mount one that names the key, where it is
// that the machine cannot give what the key asks for.
func explainMount(f stub.Failure, b *config.Box, target, fileSystem string) error {
	e := &MissingError{Key: keyOfMount(b, target), Err: f.Errno}
	switch f.Errno {
	case unix.EPERM:
		e.Missing = "the right to mount a new " + fileSystem + " at " + target
		e.Remedy = "in a container, unmask /proc (systempaths=unconfined) or take the key out"
	case unix.ENOSPC:
		e.Missing, e.Remedy = "room for more mounts", "a higher sysctl fs.mount-max"
	default:
		return fmt.Errorf("make a cell: %w", f)
	}
	return e
}

// addImage makes an image that can be executed in the box. A box with mounts needs a
// file system for it.
func (b *Box) addImage(content []byte, mode os.FileMode) (*image, error) {
	i, err := b.shared.images.add(content, b.set.mounted(), mode)
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
		return nil, &MissingError{Key: keyOfMounts(&b.cfg), Missing: "a file system that is mounted nowhere", Err: err,
			Remedy: "CAP_SYS_ADMIN over the mount namespace of the master, and no filter that forbids fsopen(2) and fsmount(2)"}
	case err != nil:
		return nil, fmt.Errorf("make the first program of a box: %w", err)
	}
	return i, nil
}

// keyOfMounts returns a key for which the box has mounts, or "".
func keyOfMounts(b *config.Box) string {
	for _, key := range []string{
		"protect-system", "root-directory", "private-tmp", "private-devices", "protect-home", "protect-kernel", "protect-proc", "private-pids",
		"read-only-paths", "inaccessible-paths", "bind-paths", "temporary-file-system", "read-write-paths",
	} {
		if b.Asks(key) {
			return key
		}
	}
	return ""
}

// explainStep makes the failure of an entry's step one that names the key, where
// it is that the machine cannot give what the key asks for.
func explainStep(f stub.Failure, b *config.Box) error {
	e := &MissingError{Err: f.Errno}
	switch f.Step.Action {
	case stub.SetLimit:
		e.Key = "limit-" + config.LimitName(int(f.Step.Number))
		e.Missing, e.Remedy = "CAP_SYS_RESOURCE", "give it to the master, or set a limit that the master's own allows"
		if f.Step.Number == unix.RLIMIT_NOFILE && f.Errno == unix.EPERM && held(unix.CAP_SYS_RESOURCE) {
			e.Missing, e.Remedy = "a higher sysctl fs.nr_open", "raise it, or lower the limit"
		}
	case stub.SetNice:
		e.Key, e.Missing, e.Remedy = "nice", "CAP_SYS_NICE", "give it to the master"
	case stub.SetIOPriority:
		e.Key, e.Missing, e.Remedy = "io-class", "the right to this class", "a lower class, or CAP_SYS_ADMIN or CAP_SYS_NICE for the master"
	case stub.SetAffinity:
		e.Key, e.Missing, e.Remedy = "cpu-affinity", "one of these processors", "name processors that this machine has and that the master's cpuset holds"
	case stub.DropBounding, stub.ClearAmbient, stub.SetCapabilities, stub.RaiseAmbient:
		e.Key, e.Missing, e.Remedy = "capabilities", "to "+f.Step.String(), "give the master these capabilities, without securebits that lock them"
	case stub.SetNoNewPrivileges:
		e.Key, e.Missing, e.Remedy = "no-new-privileges", "prctl(2)", "a seccomp profile that allows it"
	case stub.InstallFilter, stub.MoveListener, stub.SendListener:
		e.Key, e.Missing, e.Remedy = keyOfFilter(b), "seccomp filters", "a kernel with CONFIG_SECCOMP_FILTER, and in a container a seccomp profile that allows more of them"
	default:
		return fmt.Errorf("try the box: %w", f)
	}
	return e
}

// A namespaceUse says for which key a box has a namespace.
type namespaceUse struct {
	flag uintptr
	key  string
}

// namespaceUses returns for which keys a box has each of its namespaces. Those for
// mounts only are not among them: package mounts makes them.
func namespaceUses(b *config.Box) (uses []namespaceUse) {
	cell := "" // the first key that a cell is made for, which takes a pid namespace
	for _, u := range []struct {
		asked bool
		flag  uintptr
		key   string
	}{
		{b.PrivatePIDs, unix.CLONE_NEWNS, "private-pids"},
		{b.PrivateTmp, unix.CLONE_NEWNS, "private-tmp"},
		{b.PrivateIPC, unix.CLONE_NEWIPC, "private-ipc"},
		{b.PrivateNetwork, unix.CLONE_NEWNET, "private-network"},
		{b.ProtectHostname, unix.CLONE_NEWUTS, "protect-hostname"},
	} {
		if u.asked {
			uses = append(uses, namespaceUse{u.flag, u.key})
			cell = cmp.Or(cell, u.key)
		}
	}
	return append(uses, namespaceUse{unix.CLONE_NEWPID, cell})
}

// refusals are what clone(2) and unshare(2) return where namespaces cannot be had.
var refusals = []unix.Errno{unix.EPERM, unix.ENOSPC, unix.EUSERS, unix.EINVAL}

// namespaceKinds holds, by flag, how the kernel's limits call namespaces (namespaces(7)).
var namespaceKinds = map[uintptr]string{
	unix.CLONE_NEWNS: "mnt", unix.CLONE_NEWIPC: "ipc", unix.CLONE_NEWNET: "net", unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWPID: "pid",
}

// explainClone makes an error of the kernel for a namespace one that says which key
// it is for and what would give it. flags are the namespaces that were asked for at
// once: each is tried on its own to find the one that cannot be had.
//
// What is short for a while only is told as it is. A try takes a thread, and where there
// is none to be had, Go ends the whole process.
func explainClone(err error, b *config.Box, flags uintptr) error {
	if !slices.ContainsFunc(refusals, func(e unix.Errno) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("make a cell: %w", err)
	}
	key, kind := "", ""
	for _, use := range namespaceUses(b) {
		if flags&use.flag == 0 {
			continue
		}
		if one := tryNamespace(use.flag); one != nil {
			key, kind, err = use.key, namespaceKinds[use.flag], one
			break
		}
	}
	if key == "" {
		return fmt.Errorf("make namespaces: %w", err)
	}
	e := &MissingError{Key: key, Err: err}
	switch {
	case errors.Is(err, unix.EPERM):
		e.Missing = "CAP_SYS_ADMIN, and no filter that forbids namespaces"
		e.Remedy = "give it to the master (box.conf of deploy/drop-in: also RestrictNamespaces=no; --cap-add SYS_ADMIN of a container)"
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		e.Missing, e.Remedy = "room for one more "+kind+" namespace", "a higher sysctl user.max_"+kind+"_namespaces"
	case errors.Is(err, unix.EINVAL):
		e.Missing, e.Remedy = "a kernel with these namespaces", "a kernel with CONFIG_PID_NS, CONFIG_IPC_NS, CONFIG_NET_NS and CONFIG_UTS_NS"
	default:
		return fmt.Errorf("%s: %w", key, err)
	}
	return e
}

// tryNamespace makes a namespace on a thread that ends afterwards.
func tryNamespace(flag uintptr) error {
	thread, err := osthread.Start(func() error { return os.NewSyscallError("unshare", unix.Unshare(int(flag))) })
	if err == nil {
		thread.Close()
	}
	return err
}
