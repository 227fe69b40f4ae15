package main

import (
	"bufio"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// needBoxes skips a test where there can be no strict box.
func needBoxes(t *testing.T) {
	t.Helper()
	systest.NeedRoot(t)
	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		systest.SkipAnywhere(t, "needs the right to make namespaces")
	}
}

// visibleDir returns a new directory that is not replaced in a strict box.
func visibleDir(t *testing.T) string {
	t.Helper()
	return systest.DirIn(t, "/var/lib")
}

// A boxed is a master whose services have boxes.
type boxed struct {
	*systest.Master
	dir string // of the program, which every service can see
}

// startBoxed starts a master with services of which each runs the probe, unless its
// keys name another program.
func startBoxed(t *testing.T, services map[string]string) *boxed {
	t.Helper()
	needBoxes(t)
	b := &boxed{dir: visibleDir(t)}
	probe := filepath.Join(b.dir, "boxprobe")
	systest.CopyProgram(t, systest.Program(t, "cmd/internal/systest/boxprobe"), probe)
	var text strings.Builder
	text.WriteString("[master]\nkill-delay = \"300ms\"\n")
	for name, keys := range services {
		fmt.Fprintf(&text, "[service.%s]\nlisten = [\"127.0.0.1:0\"]\n%s\n", name, keys)
		if !strings.Contains(keys, "program =") {
			fmt.Fprintf(&text, "program = [%q, \"probe\"]\n", probe)
		}
	}
	// The box has to show the program with which the connections of spares begin.
	worker := filepath.Join(b.dir, "preforkd-worker")
	systest.CopyProgram(t, systest.PreforkdWorker(t), worker)
	b.Master = systest.Options{Config: text.String(), Args: []string{"--worker-binary", worker}, Listeners: len(services)}.Start(t)
	b.Boxed = true
	// With the first process of a program comes what its box keeps for it.
	for _, l := range b.Listeners {
		b.DialTo(t, l.Network, l.Address).Close()
	}
	b.Wait(t, len(services), func(e systest.Event) bool { return e.Msg == systest.Reaped && e.Conn != "" })
	b.Baseline(t)
	return b
}

// presets are the services of most tests.
func presets() map[string]string {
	return map[string]string{"none": "", "basic": `box.preset = "basic"`, "strict": `box.preset = "strict"`}
}

// A prober is a connection to a probe.
type prober struct {
	*systest.Client
	answers *bufio.Reader
}

func (b *boxed) dial(t testing.TB, service string) *prober {
	t.Helper()
	for _, l := range b.Listeners {
		if l.Service == service {
			c := b.DialTo(t, l.Network, l.Address)
			return &prober{c, bufio.NewReader(c)}
		}
	}
	t.Fatalf("there is no service %s", service)
	return nil
}

// try has an attempt done, and returns what the probe has seen, or the name of the
// errno and what else it says.
func (p *prober) try(t testing.TB, attempt string) (seen, errno string) {
	t.Helper()
	p.Send(t, attempt+"\n")
	line, err := p.answers.ReadString('\n')
	if err != nil {
		t.Fatalf("%s: no answer: %v", attempt, err)
	}
	result, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
	if result == "did" {
		return rest, ""
	}
	if strings.HasPrefix(rest, "BUG") {
		t.Fatalf("%s: %s", attempt, rest)
	}
	return "", rest
}

// does has an attempt done that must succeed.
func (p *prober) does(t testing.TB, attempt string) string {
	t.Helper()
	seen, errno := p.try(t, attempt)
	if errno != "" {
		t.Fatalf("%s: %s", attempt, errno)
	}
	return seen
}

// fails has an attempt done that must fail, with one of some errnos.
func (p *prober) fails(t testing.TB, attempt, errnos string) {
	t.Helper()
	seen, errno := p.try(t, attempt)
	if errno == "" {
		t.Errorf("%s: did it: %s", attempt, seen)
	} else if !isOneOf(errno, errnos) {
		t.Errorf("%s: %s; want %s", attempt, errno, errnos)
	}
}

func isOneOf(errno, errnos string) bool {
	name, _, _ := strings.Cut(errno, " ")
	return strings.Contains(" "+errnos+" ", " "+name+" ")
}

// isPrivileged reports whether root may do here what root may do on a machine of its
// own, which in many containers it may not.
func isPrivileged(t *testing.T) bool {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	const needed = 1<<unix.CAP_SYS_MODULE | 1<<unix.CAP_SYS_BOOT | 1<<unix.CAP_SYS_TIME | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_SYS_PTRACE
	return sets[0].Effective&needed == needed
}

// An escape is an attempt that a box forbids.
type escape struct {
	attempt string // words that begin with $ stand for something of the test
	// without is what may come of it without a box: nothing, or errnos that only
	// whoever is permitted to do it sees.
	without string
	basic   string // errnos of the preset basic; "" where basic does not forbid it
	strict  string // errnos of the preset strict
}

const (
	denied = "EPERM"
	hidden = "EPERM EACCES ENOENT ESRCH"
)

var escapes = map[string][]escape{
	"namespaces": {
		{"clone mnt", "", denied, denied},
		{"clone user", "", denied, denied},
		{"clone pid", "", denied, denied},
		{"clone net", "", denied, denied},
		{"clone ipc", "", denied, denied},
		{"clone uts", "", denied, denied},
		{"clone cgroup", "", denied, denied},
		// Only for a process with one thread (user_namespaces(7)).
		{"unshare user", "EINVAL", denied, denied},
		{"unshare mnt", "", denied, denied},
		{"unshare net", "", denied, denied},
		{"unshare uts", "", denied, denied},
		{"unshare time", "", denied, denied},
		{"setns /proc/self/ns/net", "", denied, denied},
		{"setns /proc/self/ns/uts", "", denied, denied},
	},
	"mounts": {
		{"mount $VISIBLE", "", denied, denied},
		{"bind $VISIBLE", "", denied, denied},
		{"remount", "", denied, denied},
		{"unmount $VISIBLE", "EINVAL", denied, denied},
		{"pivot-root $VISIBLE", "EINVAL EBUSY", denied, denied},
		{"chroot $VISIBLE", "", denied, denied},
		{"fsopen", "", denied, denied},
		{"open-tree", "", denied, denied},
		{"move-mount $VISIBLE", "EINVAL", denied, denied},
		{"mount-setattr $VISIBLE", "EINVAL", denied, denied},
	},
	"the kernel": {
		{"bpf", "", denied, denied},
		{"io-uring", "", denied, denied},
		{"userfaultfd", "", denied, denied},
		{"keyctl", "", denied, denied},
		{"add-key", "", denied, denied},
		{"perf", "", denied, denied},
		{"kexec", "EINVAL ENOSYS", denied, denied},
		{"init-module", "ENOEXEC EFAULT ENOSYS", denied, denied},
		{"finit-module", "EBADF EINVAL ENOSYS", denied, denied},
		{"delete-module", "ENOENT EFAULT ENOSYS", denied, denied},
		{"reboot", "EINVAL", denied, denied},
		{"swapon", "ENOENT", denied, denied},
		{"swapoff", "ENOENT", denied, denied},
		{"acct", "ENOENT", denied, denied},
		{"syslog", "", denied, denied},
		{"read /dev/kmsg", "EPIPE EAGAIN", denied, hidden},
		{"set-clock", "", denied, denied},
		{"set-hostname", "", denied, denied},
		{"personality", "", denied, denied},
		{"realtime", "", denied, denied},
		// Its arguments are in memory, where no filter sees them (seccomp(2)).
		{"realtime-by-attributes", "", "ENOSYS", "EPERM ENOSYS"},
		{"nice", "", "EACCES EPERM", denied},
		{"vhangup", "", denied, denied},
		{"mknod $VISIBLE/node", "", denied, "EPERM EROFS EACCES"},
		{"become 12345", "", "EPERM", "EPERM"},
		{"raise-core", "", denied, denied},
		{"unlimited", "", "", denied},
		{"open-by-handle $SECRETFILE", "", denied, denied},
	},
	"the network": {
		{"connect4 $PORT4", "", "", "EPERM EAFNOSUPPORT"},
		{"connect6 $PORT6", "", "", "EPERM EAFNOSUPPORT"},
		{"bind4", "", "", "EPERM EAFNOSUPPORT"},
		{"bind6", "", "", "EPERM EAFNOSUPPORT"},
		{"udp", "", "", "EPERM EAFNOSUPPORT"},
		{"netlink", "", "", "EPERM EAFNOSUPPORT"},
		{"raw", "", denied, "EPERM EAFNOSUPPORT"},
		{"packet", "", denied, "EPERM EAFNOSUPPORT"},
		{"connect-unix $ABSTRACT", "", "", "ECONNREFUSED EPERM"},
		{"connect-unix $CONTROL", "", "", hidden},
	},
	"files": {
		{"read /etc/shadow", "", "", "EACCES"},
		{"read $HOME/secret", "", "", hidden},
		{"read $ROOT/secret", "", "", hidden},
		{"read $TMP/secret", "", "", hidden},
		{"write $HOME/new", "", "", hidden},
		{"write $TMP/new", "", "", hidden},
		{"write $VISIBLE/new", "", "", "EROFS EACCES"},
		{"walk $VISIBLE", "", "", "EROFS EACCES"},
		{"change $VISIBLE/file", "", "", "EROFS EPERM EACCES"},
		{"setuid-bit $ANYTMP", "", denied, denied},
		{"read /proc/kallsyms", "", "", "ENODATA EACCES"},
		{"write /proc/self/oom_score_adj 500", "", "", "EROFS EACCES"},
		{"write /proc/sys/kernel/hostname $HOSTNAME", "", "", "EROFS EACCES EPERM ENOENT"},
	},
	"processes": {
		{"kill $NEIGHBOUR 0", "", "", "ESRCH"},
		{"kill $MASTER 0", "", "", "ESRCH"},
		{"pidfd $NEIGHBOUR", "", "", "ESRCH EINVAL EPERM"},
		{"take-descriptor $NEIGHBOUR 0", "", denied, "ESRCH EINVAL EPERM"},
		{"take-descriptor $MASTER 0", "", denied, "ESRCH EINVAL EPERM"},
		{"ptrace $NEIGHBOUR", "", denied, "ESRCH EPERM"},
		{"ptrace $MASTER", "", denied, "ESRCH EPERM"},
		{"peek $NEIGHBOUR", "", "", "ENOENT"},
		{"peek $MASTER", "", "", "ENOENT"},
		{"read /proc/$NEIGHBOUR/root/etc/hostname", "", "", "ENOENT"},
	},
}

// Each attempt works without a box and fails in one. What basic does not forbid
// works there, too: a box is not stronger than it says, either.
func TestEscapeAttempts(t *testing.T) {
	t.Parallel()
	m := startBoxed(t, presets())
	world := newOutside(t, m)
	neighbours := map[string]string{}
	for service := range presets() {
		neighbour := m.dial(t, service)
		neighbour.does(t, "descriptors")
		neighbours[service] = fmt.Sprint(neighbour.Worker(t))
	}
	for name, list := range escapes {
		t.Run(name, func(t *testing.T) {
			for _, e := range list {
				t.Run(e.attempt, func(t *testing.T) {
					for service, want := range map[string]string{"none": e.without, "basic": e.basic, "strict": e.strict} {
						attempt := strings.NewReplacer("$NEIGHBOUR", neighbours[service]).Replace(world.Replace(e.attempt))
						p := m.dial(t, service)
						seen, errno := p.try(t, attempt)
						p.Close()
						switch forbidden := service != "none" && want != ""; {
						case forbidden && errno == "":
							t.Errorf("%s in %s: did it: %s", attempt, service, seen)
						case errno == "" || isOneOf(errno, want):
						case !forbidden && isOneOf(errno, "EPERM EACCES EROFS") && !isPrivileged(t):
							systest.SkipAnywhere(t, "cannot be done here without a box either: "+errno)
						default:
							t.Errorf("%s in %s: %s; want %q", attempt, service, errno, want)
						}
					}
				})
			}
		})
	}
}
