package service_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/sockdiag"
)

// socket returns a connected socket. Its other end is closed when the test ends.
func socket(t testing.TB) int {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fds[0]
}

// connections are connections of every kind that a listener returns.
func connections(t testing.TB) map[string]*listen.Conn {
	v4 := sockdiag.Pair{Local: netip.MustParseAddrPort("192.0.2.1:80"), Peer: netip.MustParseAddrPort("10.1.2.3:4567")}
	v6 := sockdiag.Pair{Local: netip.MustParseAddrPort("[fe80::1%2]:80"), Peer: netip.MustParseAddrPort("[fe80::2%2]:4567")}
	proxied := &listen.Conn{FD: socket(t), Credentials: &unix.Ucred{Pid: 5, Uid: 6, Gid: 7}, PeerPath: "/run/\xffproxy"}
	proxied.SetProxied(netip.MustParseAddrPort("[2001:db8::1]:9"), v4.Local)
	return map[string]*listen.Conn{
		"tcp":     {FD: socket(t), Peer: v4.Peer, Local: v4.Local, Socket: v4},
		"zone":    {FD: socket(t), Peer: netip.MustParseAddrPort("[fe80::2%eth0]:4567"), Local: netip.MustParseAddrPort("[fe80::1%eth0]:80"), Socket: v6},
		"unix":    {FD: socket(t), Credentials: &unix.Ucred{Pid: 5, Uid: 6, Gid: 7}, PeerPath: "/run/\xff\"x", LocalPath: "@preforkd\xfe"},
		"proxied": proxied,
	}
}

func peerOf(conn *listen.Conn) admit.Peer {
	if conn.IsUnix() {
		return admit.Peer{UID: conn.Credentials.Uid, GID: conn.Credentials.Gid}
	}
	return admit.Peer{Addr: conn.Peer.Addr()}
}

// facts are all that others can ask of a connection.
func facts(c *service.Connection, current bool) map[string]any {
	f := map[string]any{
		"id": c.ID, "local": c.Local, "peer": c.PeerName(), "via": c.ViaName(), "socket": c.Socket(), "source": c.Slot.Source(),
		"lifetime": c.Lifetime, "idle": c.IdleTimeout, "failures": c.LogsFailures(), "end": c.LogsEnd(false), "copy": c.KeepsCopy(),
		"control": c.Command().Control, "origin": fmt.Sprint(c.Origin()), "gone": c.Gone(),
	}
	if current {
		f["fresh"], f["command"], f["environment"] = c.NeedsFreshProcess(), c.Command().Args, c.Environment()
	}
	return f
}

func TestCarriedConnectionIsTheSame(t *testing.T) {
	changed := strings.ReplaceAll(everything, "/bin/cat", "/bin/echo")
	for kind := range connections(t) {
		for into, text := range map[string]string{"the same": everything, "another": changed} {
			t.Run(kind+" into "+into, func(t *testing.T) {
				specs, services := install(t, everything)
				spec, service1 := specs[1], services[1]
				p := &redact.Policy{}
				var r service.SpecRecorder
				var before []*service.Connection
				for n := range 2 {
					conn := connections(t)[kind]
					d := service1.Gate.Admit(peerOf(conn), time.Now(), false)
					if d.Outcome != admit.Admitted {
						t.Fatalf("refused: %v", d.Reason)
					}
					service1.Ledger.Accepted()
					c := service.NewConnection(spec, conn, d, fmt.Sprintf("abc-%d", n), p)
					t.Cleanup(func() { c.File.Close() })
					before = append(before, c)
				}
				before[0].LogAccepted(7)
				d := carry.NewDescriptors()
				var states []service.ConnectionState
				var texts []string
				for _, c := range before {
					state, text := carried(t, c.Export(d, &r))
					states, texts = append(states, state), append(texts, text)
				}
				gate := service1.Export(&r)
				compiled := servicetest.Specs(t, text)
				again, restored := handOver(t, services[1:2], &r, compiled)
				var after []*service.Connection
				// A copy of the socket stands for the one that goes over an exec.
				inherited := carry.NewDescriptors()
				for i := range states {
					fd, err := unix.FcntlInt(before[i].File.Fd(), unix.F_DUPFD_CLOEXEC, 3)
					if err != nil {
						t.Fatal(err)
					}
					if kept := int(states[i].Conn.FD); kept != int(before[i].File.Fd()) {
						t.Fatalf("descriptor %d is kept", kept)
					}
					states[i].Conn.FD = inherited.Keep(fd)
				}
				for i := range states {
					if err := again[0].CheckRestored(&gate); err == nil {
						t.Error("all slots have come back before their connections")
					}
					c, err := service.RestoreConnection(&states[i], inherited, restored, p)
					if err != nil {
						t.Fatal(err)
					}
					defer c.File.Close()
					after = append(after, c)
					if c.Owner() != again[0] || c.Accepted.Sub(before[i].Accepted).Abs() > time.Millisecond {
						t.Errorf("it was accepted at %v, and now at %v", before[i].Accepted, c.Accepted)
					}
					same := into == "the same"
					if diff := cmp.Diff(facts(before[i], same), facts(c, same), cmp.Comparer(func(a, b admit.Source) bool { return a == b }), cmp.Comparer(func(a, b sockdiag.Pair) bool { return a == b })); diff != "" {
						t.Error(diff)
					}
					var r2 service.SpecRecorder
					r2.Number(c.Spec)
					twice := c.Export(carry.NewDescriptors(), &r2)
					twice.Spec, twice.Conn.FD = states[i].Spec, carry.FD(before[i].File.Fd())
					if _, text := carried(t, twice); text != texts[i] {
						t.Errorf("%s\nhas become\n%s", texts[i], text)
					}
				}
				if err := again[0].CheckRestored(&gate); err != nil {
					t.Error(err)
				}
				if left := inherited.Untaken(); len(left) > 0 {
					t.Errorf("nobody has taken %v", left)
				}
				// What no worker has yet is served by what is in force then.
				again[0].SetOwner(compiled[1])
				again[0].Install(compiled[1], time.Now())
				for _, c := range after {
					now := c.Current()
					if now.Spec.CheckCurrent() != nil || (now == c) != (into == "the same") || now.ID != c.ID || now.Slot != c.Slot || now.File != c.File || now.Accepted != c.Accepted {
						t.Errorf("%+v\nis now %+v", c, now)
					}
					if diff := cmp.Diff(facts(c, false), facts(now, false), cmp.Comparer(func(a, b admit.Source) bool { return a == b }), cmp.Comparer(func(a, b sockdiag.Pair) bool { return a == b })); diff != "" {
						t.Error(diff)
					}
					if now != c && !strings.Contains(fmt.Sprint(now.Command().Args), "/bin/echo") {
						t.Errorf("it is served by %v", now.Command().Args)
					}
				}
			})
		}
	}
}

// A worker has it, and the master has closed its copy.
func TestCarriedConnectionWithoutFile(t *testing.T) {
	spec := servicetest.Spec(t, "program = ['/bin/cat']\n", zap.NewNop())
	c, _ := servicetest.Connection(t, spec, "abc-1")
	c.File.Close()
	spec.Owner().Gate.Release(c.Slot, time.Now())
	var r service.SpecRecorder
	d := carry.NewDescriptors()
	state, _ := carried(t, c.Export(d, &r))
	if n := d.Numbers(); len(n) > 0 || state.Slot != nil {
		t.Errorf("descriptors %v and the slot %v go over", n, state.Slot)
	}
	_, restored := handOver(t, []*service.Service{spec.Owner()}, &r, nil)
	again, err := service.RestoreConnection(&state, d, restored, &redact.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	if again.File != nil || again.Slot != nil || again.PeerName() != c.PeerName() {
		t.Errorf("%+v", again)
	}
	if err := again.File.Close(); err == nil {
		t.Error("there was a file to close")
	}
}

func TestConnectionsThatMakeNoSense(t *testing.T) {
	spec := servicetest.Spec(t, "program = ['/bin/cat']\n", zap.NewNop())
	c, _ := servicetest.Connection(t, spec, "abc-1")
	var r service.SpecRecorder
	d := carry.NewDescriptors()
	state := c.Export(d, &r)
	for want, change := range map[string]func(*service.ConnectionState){
		"connection : ": func(s *service.ConnectionState) { s.ID = "" },
		"connection abc-1: there is no configura":    func(s *service.ConnectionState) { s.Spec = 1 },
		"connection abc-1: it has no id":             func(s *service.ConnectionState) { s.Accepted = 0 },
		"connection abc-1: it has no id, was n":      func(s *service.ConnectionState) { s.Live = 0 },
		"connection abc-1: service test has 0 rules": func(s *service.ConnectionState) { s.Rule = 1 },
		"connection abc-1: service test has 0":       func(s *service.ConnectionState) { s.Rule = -1 },
		"connection abc-1: peer of a connection":     func(s *service.ConnectionState) { s.Conn.Peer = "x" },
		"connection abc-1: a connection of nobody":   func(s *service.ConnectionState) { s.Conn.Credentials = nil },
		"connection abc-1: descriptor 9999 did":      func(s *service.ConnectionState) { s.Conn.FD = 9999 },
		"connection abc-1: the peer of a slot":       func(s *service.ConnectionState) { s.Slot.Addr = "x" },
		"connection abc-1: a slot of source":         func(s *service.ConnectionState) { s.Slot.UID = 77 },
	} {
		_, restored := handOver(t, []*service.Service{spec.Owner()}, &r, nil)
		changed, _ := carried(t, state)
		changed.Conn.FD = carry.None
		change(&changed)
		if _, err := service.RestoreConnection(&changed, d, restored, &redact.Policy{}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
