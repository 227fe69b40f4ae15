package service_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/process"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// files are what workers of these tests would inherit.
var files = service.Files{Null: os.Stdin, Stderr: servicetest.Stderr{File: os.Stdin}}

const cat = "listen = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n"

func compile(t *testing.T, keys string) *service.Spec {
	t.Helper()
	return servicetest.Specs(t, "[service.test]\n"+keys)[0]
}

// What cannot be had is an error that names the service and the thing. The host
// is nobody's (RFC 6761, section 6.4); the accounts are gone since the file was
// checked.
func TestCompileErrors(t *testing.T) {
	gone := func(text string) []config.PeerSet {
		p, err := config.ParsePeerSet(text)
		if err != nil {
			t.Fatal(err)
		}
		return []config.PeerSet{p}
	}
	for want, change := range map[string]func(*config.Service){
		"bind service test: listen nobody.invalid:7007: ": func(s *config.Service) {
			s.Listen = []config.Address{{Host: "nobody.invalid", Port: 7007}}
		},
		`program "/nonexistent/program": `:                func(s *config.Service) { s.Program = []string{"/nonexistent/program"} },
		"service test: user: ":                            func(s *config.Service) { s.User = "nobody-at-all" },
		"service test: socket owner: ":                    func(s *config.Service) { s.SocketOwner = "nobody-at-all" },
		"service test: proxy-protocol uid:nobody-at-all:": func(s *config.Service) { s.ProxyProtocol = gone("uid:nobody-at-all") },
		"service test: allow gid:nobody-at-all:":          func(s *config.Service) { s.Allow = gone("gid:nobody-at-all") },
		"service test: deny uid:nobody-at-all:":           func(s *config.Service) { s.Deny = gone("uid:nobody-at-all") },
		"service test: uid:nobody-at-all:": func(s *config.Service) {
			s.PenaltyExitCodes, s.PenaltyExempt = []int{1}, gone("uid:nobody-at-all")
		},
		"service test: rule 1: uid:nobody-at-all:": func(s *config.Service) {
			s.Rules = []config.Rule{{From: gone("uid:nobody-at-all")}}
		},
		`service test: rule 1: program "/nonexistent": `: func(s *config.Service) {
			s.Rules = []config.Rule{{Program: []string{"/nonexistent"}}}
		},
	} {
		cfg := servicetest.Config(t, "[service.test]\n"+cat)
		change(&cfg.Services[0])
		if _, err := service.Compile(&cfg, files, nil); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// An account that has got another number since makes another Spec, though the
// text is the same.
func TestEqualComparesAccounts(t *testing.T) {
	text := "[service.test]\n" + cat + "proxy-protocol = ['uid:root']\n"
	before, after := servicetest.Config(t, text), servicetest.Config(t, text)
	// What stands behind the name can only be played: the name is kept, and
	// the look-up finds another account.
	other, err := config.ParsePeerSet("uid:daemon")
	if err != nil {
		t.Fatal(err)
	}
	after.Services[0].ProxyProtocol = []config.PeerSet{other}
	a, err := service.Compile(&before, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, err := service.Compile(&after, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	b[0].ProxyProtocol = a[0].ProxyProtocol
	if a[0].Service.TOML() != b[0].Service.TOML() {
		t.Fatal("the texts differ, which is not what this is about")
	}
	if a[0].Equal(b[0]) {
		t.Error("equal, and the proxy that is believed is another account")
	}
}

// A service with another box is another one, so that a reload replaces its spares.
func TestBoxMakesADifference(t *testing.T) {
	const text = "listen = ['127.0.0.1:0']\nprogram = ['/bin/cat']\n"
	plain := compile(t, text)
	boxed := compile(t, text+"box.preset = 'basic'\n")
	if plain.Equal(boxed) || !boxed.Equal(compile(t, text+"box.preset = 'basic'\n")) {
		t.Error("a change of the box is not noticed, or one where there is none")
	}
	if boxed.Equal(compile(t, text+"box = { preset = 'basic', limit-core = '1K' }\n")) {
		t.Error("a change of a limit of the box is not noticed")
	}
}

// Host names are resolved, and other addresses are what they are.
func TestCompileResolves(t *testing.T) {
	spec := compile(t, "listen = ['localhost:7007', '127.0.0.1:7008', ':7009', 'unix:@x']\nprogram = ['/bin/cat']\n")
	if len(spec.Addresses) != 4 {
		t.Fatalf("%+v", spec.Addresses)
	}
	for i, a := range spec.Addresses {
		if a.Address != spec.Listen[i] || len(a.Resolved) == 0 {
			t.Errorf("%v: %v", a.Address, a.Resolved)
		}
		for _, r := range a.Resolved {
			if r.Host != "" || r.Port != a.Port || i > 0 && r != a.Address || i == 0 && !r.IP.IsLoopback() {
				t.Errorf("%v resolves to %v", a.Address, r)
			}
		}
	}
}

// A Spec equals another one that means the same, and no other.
func TestEqual(t *testing.T) {
	t.Setenv("PREFORKD_TEST_EQUAL", "1")
	base := cat + "env = ['PREFORKD_TEST_EQUAL']\nproxy-protocol = ['uid:root']\n"
	rules := base + "[[service.test.rule]]\nfrom = ['127.0.0.1']\nenv = ['A=PREFORKD']\n"
	spec, ruled := compile(t, base), compile(t, rules)
	if !spec.Equal(compile(t, base)) || !ruled.Equal(compile(t, rules)) {
		t.Error("the same text means something else")
	}
	for _, keys := range []string{
		rules, base + "nodelay = false\n", base + "max-connections = 7\n", strings.Replace(base, "/bin/cat", "/bin/true", 1),
	} {
		if spec.Equal(compile(t, keys)) {
			t.Errorf("equal: %s", keys)
		}
	}
	t.Setenv("PREFORKD_TEST_EQUAL", "2")
	if spec.Equal(compile(t, base)) {
		t.Error("equal, and the environment is another one")
	}
}

// With Once nothing is started that nobody asked for, and one slot is all.
func TestCompileOnce(t *testing.T) {
	cfg := servicetest.Config(t, "[service.test]\n"+cat+"handoff = 'worker'\nspares = 4\nconnections-per-worker = 9\nmax-connections = 50\noverflow = 'refuse'\n")
	cfg.Once = true
	specs, err := service.Compile(&cfg, files, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, p := specs[0], specs[0].Policy()
	if s.MinSpares+s.MaxSpares != 0 || s.ConnectionsPerWorker != 1 || p.MaxConnections != 1 || !p.Wait {
		t.Errorf("%d spares, %d connections per worker, %+v", s.MaxSpares, s.ConnectionsPerWorker, p)
	}
}

func TestMayRefuse(t *testing.T) {
	for keys, want := range map[string]bool{
		"": false, "overflow = 'refuse'": true, "rate = '5/s'": true, "max-connections-per-source = 3": true,
		"deny = ['127.0.0.1']": true, "proxy-protocol = ['127.0.0.1']": true, "random-early-drop = '10:30:60'": true,
		"penalty-exit-codes = [1]": true,
	} {
		if got := compile(t, cat+keys+"\n").MayRefuse(); got != want {
			t.Errorf("%q: %v", keys, got)
		}
	}
}

// A rule changes the limits, the program and the environment of its connections.
func TestRule(t *testing.T) {
	spec := servicetest.Spec(t, "program = ['/bin/cat']\nhandoff = 'worker'\nmax-lifetime = '1h'\nidle-timeout = '2h'\nenv = ['A=1', 'B=1']\n"+
		"[[service.test.rule]]\nfrom = ['unix']\nprogram = ['/bin/true', 'x']\nenv = ['B=2']\nmax-lifetime = '1m'\n", zap.NewNop())
	c, _ := servicetest.Connection(t, spec, "c1")
	if c.Lifetime != time.Minute || c.IdleTimeout != 2*time.Hour || !c.NeedsFreshProcess() || c.Command().Args[1] != "x" {
		t.Errorf("%v, %v, %v", c.Lifetime, c.IdleTimeout, c.Command())
	}
	env := strings.Join(c.Environment(), " ")
	for _, want := range []string{"A=1", "B=2", "PREFORKD_CONNECTION=c1", "PREFORKD_SERVICE=test", "PROTO=IPC"} {
		if !strings.Contains(" "+env+" ", " "+want+" ") {
			t.Errorf("%s is not in %s", want, env)
		}
	}
	if strings.Contains(env, "B=1") || strings.Contains(strings.Join(spec.SpareEnvironment(), " "), "B=2") {
		t.Errorf("connection %s, spare %v", env, spec.SpareEnvironment())
	}
}

// A Spec in another box is the same to a reload, and starts everything in that box.
func TestInBox(t *testing.T) {
	const keys = "program = ['/bin/cat']\nhandoff = 'worker'\nbox.preset = 'basic'\n[[service.test.rule]]\nfrom = ['unix']\nprogram = ['/bin/true', 'x']\n"
	spec := servicetest.Spec(t, keys, zap.NewNop())
	own, other := spec.ProcessBox(), anotherBox{}
	in := spec.InBox(other)
	c, _ := servicetest.Connection(t, in, "c1")
	if in.ProcessBox() != other || in.SpareCommand().Box != other || c.Command().Box != other || c.Command().Args[1] != "x" {
		t.Errorf("boxes: %v, of spares %v, of a rule %v", in.ProcessBox(), in.SpareCommand().Box, c.Command())
	}
	if spec.ProcessBox() != own || spec.SpareCommand().Box != own {
		t.Error("the Spec itself has another box now")
	}
	before, _ := servicetest.Connection(t, spec, "c2")
	if before.Command().Box != own {
		t.Error("a connection of the Spec itself has another box now")
	}
	if !in.Equal(spec) || !in.Renew().Equal(spec) || in.Owner() != spec.Owner() || !in.Original().Equal(spec) || spec.Original() != nil {
		t.Error("it is another service")
	}
	if in.Equal(servicetest.Spec(t, keys+"env = ['A=1']\n", zap.NewNop())) {
		t.Error("a change is not noticed")
	}
}

type anotherBox struct{ process.Box }

// A drain is the name's: everybody sees it, and the next installation ends it.
func TestDrainAndInstall(t *testing.T) {
	spec := servicetest.Spec(t, "program = ['/bin/cat']\n", zap.NewNop())
	s := spec.Owner()
	if s.Draining() {
		t.Fatal("a new service drains")
	}
	drained := s.Drained()
	if !s.Drain() || s.Drain() || !s.Draining() {
		t.Error("the second drain counts as the first")
	}
	<-drained
	next := servicetest.Specs(t, "[service.test]\nlisten = ['unix:@preforkd-test']\nprogram = ['/bin/cat']\nmax-connections = 7\n")[0]
	s.SetOwner(next)
	s.Install(next, time.Now())
	if s.Draining() || s.Spec() != next || s.Gate.Counts().Limit != 7 {
		t.Errorf("draining %v, limit %d", s.Draining(), s.Gate.Counts().Limit)
	}
	select {
	case <-s.Drained():
		t.Error("the service still counts as drained")
	default:
	}
}

// Explain names the limit or rule that decides, and changes nothing.
func TestExplain(t *testing.T) {
	spec := servicetest.Spec(t, "program = ['/bin/cat']\nmax-connections = 1\noverflow = 'refuse'\ndeny = ['uid:1']\nproxy-protocol = ['uid:2']\n"+
		"[[service.test.rule]]\nfrom = ['uid:3']\nmax-connections-per-source = 5\n", zap.NewNop())
	s := spec.Owner()
	check := func(uid uint32, outcome, by string) {
		t.Helper()
		x := s.Explain(admit.Peer{UID: uid, GID: 9}, time.Now())
		if x.Outcome != outcome || x.By != by || (uid == 2) != (x.Note != "") {
			t.Errorf("uid %d: %+v", uid, x)
		}
	}
	for range 2 {
		check(0, "admitted", "")
		check(1, "refused", "deny uid:1")
		check(2, "admitted", "")
		check(3, "admitted", "rule for uid:3")
	}
	servicetest.Connection(t, spec, "c1")
	check(0, "refused", "max-connections 1")
}

func TestIDs(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	ids := service.NewIDs(now)
	first, second := ids.Next(), ids.Next()
	if first == second || !strings.HasSuffix(first, "-1") || service.NewIDs(now.Add(time.Millisecond)).Next() == first {
		t.Errorf("%s, %s", first, second)
	}
}
