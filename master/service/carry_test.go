package service_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/box"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// carried returns a state as the next master reads it.
func carried[S any](t testing.TB, s S) (again S, text string) {
	t.Helper()
	b, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	return again, string(b)
}

// install puts the services of a configuration in force.
func install(t testing.TB, text string) (specs []*service.Spec, services []*service.Service) {
	t.Helper()
	specs = servicetest.Specs(t, text)
	for _, spec := range specs {
		s := service.New(spec.Name, spec.Policy(), zap.NewNop())
		s.SetOwner(spec)
		s.Install(spec, time.Now())
		services = append(services, s)
	}
	return specs, services
}

// handOver makes the services again for a master with the compiled configuration.
func handOver(t testing.TB, services []*service.Service, r *service.SpecRecorder, compiled []*service.Spec) ([]*service.Service, *service.RestoredSpecs) {
	t.Helper()
	states := make([]service.State, len(services))
	for i, s := range services {
		states[i] = s.Export(r)
	}
	specStates, _ := carried(t, r.States())
	restored, err := service.RestoreSpecs(specStates, compiled)
	if err != nil {
		t.Fatal(err)
	}
	again := make([]*service.Service, len(services))
	for i := range states {
		state, _ := carried(t, states[i])
		if again[i], err = service.RestoreService(&state, restored, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	return again, restored
}

// everything is a configuration with every kind of thing that a machine says.
const everything = `
[service.plain]
listen = ['127.0.0.1:0', 'localhost:0']
handler = 'echo'
quit-word = 'bye'
min-spares = 1
max-spares = 3
connections-per-worker = 5

[service."a \"b\" ü"]
listen = ['unix:@preforkd-test-a']
program = ['/bin/cat', "-n\t\"x\""]
env = ['PATH', 'A=b']
stderr = 'log'
rate = '10/s'
burst = 20
penalty-exit-codes = [3]
penalty-exempt = ['uid:root', 'unix']
proxy-protocol = ['uid:0', '192.0.2.0/24']
random-early-drop = '5:30:20'
[[service."a \"b\" ü".rule]]
from = ['10.0.0.0/8', 'gid:root']
max-lifetime = '5s'
log = 'failures'
[[service."a \"b\" ü".rule]]
from = ['10.1.0.0/16']
program = ['/bin/echo', 'no']
env = ['C=d']
max-connections-per-source = 2
[[service."a \"b\" ü".rule]]
from = ['10.2.0.0/16']
action = 'deny'

[service.boxed]
listen = ['unix:/nonexistent/preforkd-test']
socket-owner = 'root'
socket-group = '5'
program = ['/bin/cat']
handoff = 'worker'
user = 'root'
group = 'root'
umask = '027'
allow = ['::/0', 'uid:root']
idle-timeout = '1m'
[service.boxed.box]
no-new-privileges = true
`

func TestServiceThatMeansTheSameStays(t *testing.T) {
	t.Run("in the same words", func(t *testing.T) { testSame(t, func(section string) string { return section }) })
	// Another version may have more keys, or print them in another way.
	t.Run("in other words", func(t *testing.T) {
		testSame(t, func(section string) string { return strings.Replace(section, "\n", "\n# Another version.\n", 1) })
	})
}

func testSame(t *testing.T, words func(section string) string) {
	specs, services := install(t, everything)
	var r service.SpecRecorder
	for i, spec := range specs {
		if n := r.Number(spec); n != i || r.Number(spec) != i {
			t.Errorf("configuration %d has number %d", i, n)
		}
	}
	for i := range r.States() {
		r.States()[i].Section = words(r.States()[i].Section)
	}
	compiled := servicetest.Specs(t, everything)
	again, restored := handOver(t, services, &r, compiled)
	if len(r.States()) != len(specs) {
		t.Errorf("%d configurations have become %d", len(specs), len(r.States()))
	}
	for i := range specs {
		got, err := restored.Spec(i)
		switch {
		case err != nil:
			t.Error(err)
		case got != compiled[i]:
			t.Errorf("service %s has changed", got.Name)
		case got.CheckCurrent() != nil || got.Owner() != again[i] || again[i].Spec() != got:
			t.Errorf("service %s: %v, it belongs to %v", got.Name, got.CheckCurrent(), got.Owner())
		}
	}
	for _, number := range []int{-1, len(specs)} {
		if _, err := restored.Spec(number); err == nil {
			t.Errorf("there is a configuration %d", number)
		}
	}
}

// A former Spec decides as the one that it was, although nothing that it names is there.
func TestFormerSpec(t *testing.T) {
	specs, services := install(t, everything)
	var r service.SpecRecorder
	states := make([]service.State, len(services))
	for i, s := range services {
		states[i] = s.Export(&r)
	}
	for i := range r.States() {
		r.States()[i].Section = strings.NewReplacer("/bin/", "/gone/", `"root"`, `"nobody-at-all"`, ":root", ":nobody-at-all").Replace(r.States()[i].Section)
	}
	restored, err := service.RestoreSpecs(r.States(), servicetest.Specs(t, everything))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := restored.Spec(0); err == nil {
		t.Error("there is a configuration without its service")
	}
	for i := range states {
		if _, err := service.RestoreService(&states[i], restored, zap.NewNop()); err != nil {
			t.Fatal(err)
		}
	}
	for i, spec := range specs[1:] { // the first one names nothing
		former, err := restored.Spec(i + 1)
		if err != nil {
			t.Fatal(err)
		}
		if former.CheckCurrent() == nil || former.Equal(spec) || spec.Equal(former) || !former.Equal(former) {
			t.Errorf("service %s: %v, equal %v", former.Name, former.CheckCurrent(), former.Equal(spec))
		}
		if former.LingeringClose != spec.LingeringClose || former.ExecsProgram() != spec.ExecsProgram() || former.ReadyOptional() != spec.ReadyOptional() ||
			former.MayRefuse() != spec.MayRefuse() || former.ProcessBox() != nil || former.Options != spec.Options {
			t.Errorf("service %s has become another one: %+v", spec.Name, former)
		}
		now := time.Now()
		for _, p := range []admit.Peer{
			{Addr: netip.MustParseAddr("10.0.0.1")}, {Addr: netip.MustParseAddr("10.1.0.1")}, {Addr: netip.MustParseAddr("10.2.0.1")},
			{Addr: netip.MustParseAddr("192.0.2.1")}, {Addr: netip.MustParseAddr("2001:db8::1")}, {UID: 0, GID: 0}, {UID: 1, GID: 0}, {UID: 1, GID: 1},
		} {
			before, after := spec.Owner().Explain(p, now), former.Owner().Explain(p, now)
			after.By = strings.ReplaceAll(after.By, "nobody-at-all", "root")
			after.LogBy = strings.ReplaceAll(after.LogBy, "nobody-at-all", "root")
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("service %s, %v: %s", spec.Name, p, diff)
			}
			if spec.BelievesProxy(p) != former.BelievesProxy(p) {
				t.Errorf("service %s: the PROXY header of %v is believed no longer", spec.Name, p)
			}
		}
	}
}

// What the machine makes of a section is part of what it means.
func TestSameTextThatMeansAnother(t *testing.T) {
	_, services := install(t, everything)
	boxed := services[2]
	for name, change := range map[string]func(*service.SpecState){
		"":                 func(*service.SpecState) {},
		"id":               func(s *service.SpecState) { s.IDs[0]++ },
		"owner of sockets": func(s *service.SpecState) { s.SocketUID++ },
		"group of sockets": func(s *service.SpecState) { s.SocketGID++ },
		"program or box":   func(s *service.SpecState) { s.Found = strings.Repeat("0", 64) },
		"once":             func(s *service.SpecState) { s.Once = true },
		"section":          func(s *service.SpecState) { s.Section = strings.Replace(s.Section, "1m", "2m", 1) },
	} {
		var r service.SpecRecorder
		state := boxed.Export(&r)
		states, _ := carried(t, r.States())
		change(&states[0])
		restored, err := service.RestoreSpecs(states, servicetest.Specs(t, everything))
		if err != nil {
			t.Fatal(name, err)
		}
		s, err := service.RestoreService(&state, restored, zap.NewNop())
		if err != nil {
			t.Fatal(name, err)
		}
		if changed := s.Spec().CheckCurrent() != nil; changed != (name != "") {
			t.Errorf("another %s: changed %v", name, changed)
		}
	}
}

// Workers of an earlier configuration stay with it, whatever the configuration says now,
// and so do those that were observed. A former one stays one when it is carried again.
func TestOutdatedSpecsStayOutdated(t *testing.T) {
	text := "[service.a]\nlisten = ['unix:@preforkd-test']\nprogram = ['/bin/cat']\n"
	specs, services := install(t, text)
	first := specs[0]
	second := first.Renew()
	services[0].Install(second, time.Now())
	observed := second.InBox(nil)
	services[0].Replace(observed)
	var r service.SpecRecorder
	numbers := []int{r.Number(observed), r.Number(first)}
	again, restored := handOver(t, services, &r, servicetest.Specs(t, text))
	if again[0].Spec().CheckCurrent() != nil {
		t.Error("the configuration in force is a former one")
	}
	for range 2 {
		r = service.SpecRecorder{}
		var next []int
		for i, n := range numbers {
			spec, err := restored.Spec(n)
			if err != nil || spec.CheckCurrent() == nil || spec.Owner() != again[0] || spec == again[0].Spec() {
				t.Fatalf("configuration %d is in force: %v", i, err)
			}
			next = append(next, r.Number(spec))
		}
		numbers = next
		again, restored = handOver(t, again, &r, servicetest.Specs(t, text))
	}
}

func TestSpecsThatMakeNoSense(t *testing.T) {
	section := func(keys string) string { return "[service.a]\nlisten = ['127.0.0.1:1']\nhandler = 'echo'\n" + keys }
	for want, states := range map[string][]service.SpecState{
		`service.a: unknown key "spar"`: {{Service: "a", Section: section("spar = 1"), Found: "0"}},
		"service.a: max-connections 0":  {{Service: "a", Section: section("max-connections = 0"), Found: "0"}},
		"service a: ":                   {{Service: "a", Section: "]", Found: "0"}},
		"service b: its section is not": {{Service: "b", Section: section(""), Found: "0"}},
		"service a: its section is not": {{Service: "a", Section: section("") + "[master]\n", Found: "0"}},
		"service a: it is not known":    {{Service: "a", Section: section("")}},
		"service a: allow uid:x":        {{Service: "a", Section: section("allow = ['uid:x']"), Found: "0"}},
		"service a: 1 users and groups": {{Service: "a", Section: section(""), Found: "0", IDs: []uint32{1}}},
		"service a: two configurations": {{Service: "a", Section: section(""), Found: "0", InForce: true}, {Service: "a", Section: section(""), Found: "0", InForce: true}},
	} {
		_, err := service.RestoreSpecs(states, nil)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// events makes a service that has something of everything to hand over.
func events(t testing.TB, s *service.Service) {
	t.Helper()
	now := time.Now()
	s.Ledger.Accepted()
	s.Ledger.Accepted()
	s.Gate.Refuse(admit.Denied)
	s.Ledger.Completed(time.Second, &ipc.Report{BytesIn: 7})
	for range 9 {
		s.Refusals.Note(admit.Denied, now)
	}
	s.Congestion.Observe(true, now)
	s.IdleUnknown.Note(errors.New("no netlink here"))
	s.TakeUnconfinedNote(&service.Spec{Service: config.Service{Handler: "echo"}}, []ipc.Pair{{Key: ipc.ValueUnconfined, Value: "old kernel"}})
	s.Generation = 12
	s.Drain()
}

func TestCarriedServiceIsTheSame(t *testing.T) {
	_, services := install(t, everything)
	events(t, services[0])
	var first, second service.SpecRecorder
	_, text := carried(t, services[0].Export(&first))
	again, _ := handOver(t, services[:1], &first, servicetest.Specs(t, everything))
	s := again[0]
	if _, twice := carried(t, s.Export(&second)); twice != text {
		t.Errorf("%s\nhas become\n%s", text, twice)
	}
	if diff := cmp.Diff(first.States(), second.States()); diff != "" {
		t.Error(diff)
	}
	now := time.Now()
	if s.Totals() != services[0].Totals() || s.Generation != 12 || !s.Draining() || s.IdleUnknown.Reason().Error() != "no netlink here" {
		t.Errorf("%+v", s)
	}
	select {
	case <-s.Drained():
	default:
		t.Error("whoever waits for the drain goes on waiting")
	}
	if n, log := s.Refusals.Note(admit.Denied, now); log || n != 5 {
		t.Errorf("refusals are logged again: %d, %v", n, log)
	}
	if s.IdleUnknown.Note(errors.New("still none")) {
		t.Error("that idle times are not known is news again")
	}
	if since, _ := s.Congestion.State(now); since.IsZero() {
		t.Error("it is not full any more")
	}
	s.Install(s.Spec(), now)
	if s.Draining() {
		t.Error("it drains for ever")
	}
}

func TestWhatTheLogHasSaidIsNotSaidAgain(t *testing.T) {
	core, logged := observer.New(zap.DebugLevel)
	log := zap.New(core)
	unfit := files
	unfit.Boxes = &countedBoxes{missing: []*box.MissingError{{Key: "landlock"}}}
	cfg := servicetest.Config(t, everything)
	specs, err := service.Compile(&cfg, unfit, nil)
	if err != nil {
		t.Fatal(err)
	}
	s := service.New(specs[0].Name, specs[0].Policy(), log)
	s.SetOwner(specs[0])
	s.Install(specs[0], time.Now())
	service.LogMissing([]*service.Service{s}, log)
	note := []ipc.Pair{{Key: ipc.ValueUnconfined, Value: "old kernel"}}
	s.TakeUnconfinedNote(specs[0], slices.Clone(note))
	if logged.Len() != 2 {
		t.Fatalf("%v", logged.All())
	}
	var r service.SpecRecorder
	state := s.Export(&r)
	compiled, err := service.Compile(&cfg, unfit, nil)
	if err != nil {
		t.Fatal(err)
	}
	restored, err := service.RestoreSpecs(r.States(), compiled)
	if err != nil {
		t.Fatal(err)
	}
	again, err := service.RestoreService(&state, restored, log)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Spec().MissingFromBox()) != 1 {
		t.Error("the box lacks nothing any more")
	}
	service.LogMissing([]*service.Service{again}, log)
	again.TakeUnconfinedNote(again.Spec(), slices.Clone(note))
	if logged.Len() != 2 {
		t.Errorf("%v", logged.All()[2:])
	}
}

func TestServicesThatMakeNoSense(t *testing.T) {
	_, services := install(t, everything)
	var r service.SpecRecorder
	state := services[0].Export(&r)
	r.Number(services[1].Spec())
	states := append(r.States(), r.States()[0])
	states[2].InForce = false
	for want, change := range map[string]func(*service.State){
		"service plain: there is no configuration 9":               func(s *service.State) { s.Spec = 9 },
		"service plain: there is no configuration -1":              func(s *service.State) { s.Spec = -1 },
		"service plain: configuration 1, of service":               func(s *service.State) { s.Spec = 1 },
		"service plain: configuration 2, of service plain, is not": func(s *service.State) { s.Spec = 2 },
		"service plain: a gate of moment":                          func(s *service.State) { s.Gate.Start = 0 },
		"service plain: there is no cause":                         func(s *service.State) { s.Ledger.Failed = map[string]uint64{"x": 1} },
		"service plain: there is no reason":                        func(s *service.State) { s.Refusals.Reasons = []admit.ReasonRefusal{{Reason: "x"}} },
		"service plain: a congestion":                              func(s *service.State) { s.Congestion.Over = -1 },
		"service plain: 0 connections have come":                   func(s *service.State) { s.Ledger.Completed = 1 },
	} {
		restored, err := service.RestoreSpecs(states, nil)
		if err != nil {
			t.Fatal(err)
		}
		changed, _ := carried(t, state)
		change(&changed)
		if _, err := service.RestoreService(&changed, restored, zap.NewNop()); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	restored, err := service.RestoreSpecs(states, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, wrong := range []bool{false, true} {
		if _, err := service.RestoreService(&state, restored, zap.NewNop()); (err != nil) != wrong {
			t.Errorf("the service for the time %d: %v", i+1, err)
		}
	}
}

func TestCarriedIDsGoOn(t *testing.T) {
	ids := service.NewIDs(time.Now())
	first := ids.Next()
	state, _ := carried(t, ids.Export())
	again, err := service.RestoreIDs(&state)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := ids.Next(), again.Next(); a != b || a == first {
		t.Errorf("after %s comes %s, and would have come %s", first, b, a)
	}
	for _, prefix := range []string{"", "-", "abc", "a b-", "ü-", "a\n-"} {
		if _, err := service.RestoreIDs(&service.IDsState{Prefix: prefix}); err == nil {
			t.Errorf("ids may begin with %q", prefix)
		}
	}
}

// Thousands of services are recorded before anything pauses, and made again while
// everything does.
func BenchmarkCarrySpecs(b *testing.B) {
	const services = 1000
	var text strings.Builder
	for i := range services {
		handler := []string{"program = ['/bin/cat']", "handler = 'echo'"}[i%2]
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['unix:@preforkd-test-%d']\n%s\n\n", i, i, handler)
	}
	_, made := install(b, text.String())
	compiled := servicetest.Specs(b, text.String())
	record := func() (r service.SpecRecorder) {
		for _, s := range made {
			r.Number(s.Spec())
		}
		return r
	}
	b.Run("record", func(b *testing.B) {
		for b.Loop() {
			record()
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/services, "µs/service")
	})
	r := record()
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if _, err := service.RestoreSpecs(r.States(), compiled); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/services, "µs/service")
	})
}
