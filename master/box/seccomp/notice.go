package seccomp

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/box/syscalls"
)

// isDefault holds the calls that any list of what is allowed has (systemd.exec(5)).
var isDefault = sync.OnceValue(func() map[string]bool {
	names, _ := syscalls.Set("@default")
	set := map[string]bool{}
	for _, name := range names {
		set[name] = true
	}
	return set
})

// IsDefault reports whether any list of what is allowed has a call.
func IsDefault(name string) bool { return isDefault()[name] }

// noticeRules returns the rules of all restrictions, of which none denies anything: a
// listener is told.
var noticeRules = sync.OnceValue(func() map[string][]rule {
	all := map[string][]rule{}
	for _, r := range restrictionKeys {
		for name, rules := range restrictions(&r.config) {
			for _, one := range rules {
				all[name] = append(all[name], rule{unix.SECCOMP_RET_USER_NOTIF, one.conditions})
			}
		}
	}
	return all
})

// KeyAddressFamilies is the key of a box that Config.AddressFamilies comes from.
const KeyAddressFamilies = "restrict-address-families"

// restrictionKeys are the restrictions by the keys of a box that they come from.
var restrictionKeys = []struct {
	key    string
	config Config
}{
	{"restrict-namespaces", Config{RestrictNamespaces: true}},
	{"restrict-realtime", Config{RestrictRealtime: true}},
	{"restrict-suid-sgid", Config{RestrictSUIDSGID: true}},
	{"lock-personality", Config{LockPersonality: true}},
	{"memory-deny-write-execute", Config{MemoryDenyWriteExecute: true}},
	{KeyAddressFamilies, Config{AddressFamilies: []int{}}},
}

// Restrictions returns the keys of a box that restrict what calls may do, in a fixed order.
// The last is KeyAddressFamilies.
func Restrictions() []string {
	keys := make([]string, 0, len(restrictionKeys))
	for _, r := range restrictionKeys {
		keys = append(keys, r.key)
	}
	return keys
}

var rulesByKey = sync.OnceValue(func() []map[string][]rule {
	var all []map[string][]rule
	for _, r := range restrictionKeys {
		all = append(all, restrictions(&r.config))
	}
	return all
})

// RefusedBy returns the keys with which a call fails, of those of Restrictions. A call that
// then fails with ENOSYS is not meant: programs use an older one instead. With
// KeyAddressFamilies the list of families is taken to be empty.
func RefusedBy(name string, arguments [6]uint64) (keys []string) {
	for i, rules := range rulesByKey() {
		if slices.ContainsFunc(rules[name], func(r rule) bool { return r.action != errno(unix.ENOSYS) && r.holds(arguments) }) {
			keys = append(keys, restrictionKeys[i].key)
		}
	}
	return keys
}

// A Judge says what a program answers, as the kernel would.
type Judge struct {
	program []unix.SockFilter
	vm      *bpf.VM
}

// NewJudge returns the Judge of a program that Compile has made.
func NewJudge(program []unix.SockFilter) (*Judge, error) {
	raw := make([]bpf.RawInstruction, len(program))
	for i, c := range program {
		raw[i] = bpf.RawInstruction{Op: c.Code, Jt: c.Jt, Jf: c.Jf, K: c.K}
	}
	instructions, known := bpf.Disassemble(raw)
	if !known {
		return nil, fmt.Errorf("the filter of system calls has an instruction that is not known")
	}
	vm, err := bpf.NewVM(instructions)
	return &Judge{program, vm}, err
}

// Action returns the answer to a call: SECCOMP_RET_ALLOW and so on. arch is that of struct
// seccomp_data (seccomp(2)), as are the others.
func (j *Judge) Action(arch, number uint32, arguments [6]uint64) uint32 {
	// The virtual machine loads words in network order.
	var data [offsetArguments + 6*8]byte
	binary.BigEndian.PutUint32(data[offsetNumber:], number)
	binary.BigEndian.PutUint32(data[offsetArch:], arch)
	for i, a := range arguments {
		binary.BigEndian.PutUint32(data[argumentAt(i, false):], uint32(a))
		binary.BigEndian.PutUint32(data[argumentAt(i, true):], uint32(a>>32))
	}
	action, err := j.vm.Run(data[:])
	if err != nil {
		return unix.SECCOMP_RET_KILL_PROCESS // never: Compile divides by nothing, and loads from within
	}
	return uint32(action)
}

// Foreign reports whether a call with that value of struct seccomp_data and that number
// is one of another architecture than a GOARCH, or of the x32 ABI.
func Foreign(goarch string, arch, number uint32) bool {
	return arch != auditArch[goarch] || goarch == "amd64" && number != skipped && (number >= x32 || number >= x32Low && number < x32LowEnd)
}
