package endpoints

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"reflect"
	"testing"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/service"
	"github.com/preforkd/preforkd/master/service/servicetest"
	"github.com/preforkd/preforkd/master/systemd"
)

// exported returns the state of a set as it is after JSON.
func exported(t *testing.T, s *Set) State {
	t.Helper()
	st, err := s.Export(carry.NewDescriptors())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var decoded State
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	return decoded
}

// fds calls f with each descriptor of a state.
func (s *State) fds(f func(fd *carry.FD)) {
	for _, listeners := range [][]ListenerState{s.Listeners, s.Replaced} {
		for i := range listeners {
			f(&listeners[i].Socket.FD)
			f(&listeners[i].Socket.Directory)
		}
	}
	for _, sockets := range [][]SocketState{s.Passed, s.Stored} {
		for i := range sockets {
			f(&sockets[i].FD)
		}
	}
}

// restored returns a set that has what another one had, with duplicates of its
// descriptors, and what it was given.
func restored(t *testing.T, old *Set, specs []*service.Spec) (*Set, State) {
	t.Helper()
	st := exported(t, old)
	d := carry.NewDescriptors()
	st.fds(func(fd *carry.FD) {
		if *fd == carry.None {
			return
		}
		dup, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		*fd = d.Keep(dup)
	})
	old.DropCopies()
	s, _ := newSet(t, true)
	byName := func(name string) *service.Spec {
		for _, spec := range specs {
			if spec.Name == name {
				return spec
			}
		}
		return nil
	}
	if err := s.Restore(&st, d, byName); err != nil {
		t.Fatal(err)
	}
	if untaken := d.Untaken(); len(untaken) > 0 {
		t.Errorf("nobody has taken %v", untaken)
	}
	return s, st
}

// A set with listeners of all kinds is the same after it was handed over: nothing is bound
// for the same configuration, clients are served, and what was replaced is still somebody's.
func TestSetGoesOver(t *testing.T) {
	s, m := newSet(t, true)
	port := free(t)
	path := filepath.Join(t.TempDir(), "sock")
	text := func(host string) string {
		return fmt.Sprintf("[service.a]\nlisten = ['%s:%d', 'unix:%s', 'unix:@%s']\n", host, port, path, path) + cat +
			"[service.p]\nlisten = ['127.0.0.1:0']\n" + cat + atPorts(manyListeners)
	}
	cfg := servicetest.Config(t, text(""))
	if err := s.Inherit([]systemd.Socket{listening(t, "p")}, cfg.Services); err != nil {
		t.Fatal(err)
	}
	shelved(t, s, text("127.0.0.1"))
	waiting, err := net.Dial("tcp", s.Of("a")[0].Local())
	if err != nil {
		t.Fatal(err)
	}
	defer waiting.Close()
	next := specs(t, text(""))
	_, closed := commit(t, s, next)
	s.Retire(closed)
	s.Store(s.All())
	if len(s.replaced) != 1 {
		t.Fatalf("%d are replaced", len(s.replaced))
	}

	over, st := restored(t, s, next)
	if again := exported(t, over); !reflect.DeepEqual(again, st) {
		t.Errorf("it has become\n%+v, want\n%+v", again, st)
	}
	told := len(m.told)
	p, closed := commit(t, over, next)
	if len(p.Opened) > 0 || len(closed) > 0 || len(m.told) != told {
		t.Errorf("%d opened, %d closed", len(p.Opened), len(closed))
	}
	for i, l := range over.All() {
		if was := s.All()[i]; l.Local() != was.Local() || l.Lost() != nil || l.IsWildcard() != was.IsWildcard() {
			t.Fatalf("%s, lost %v, was %s", l.Local(), l.Lost(), was.Local())
		}
	}
	if r := over.replaced[0]; !r.Waiting() || r.heir != over.Of("a")[0] || r.Spec() != next[0] {
		t.Errorf("%s waits for %s", r.Local(), r.Spec().Name)
	}
	conn, err := over.Of("a")[0].Accept(slots{})
	if err != listen.ErrNone {
		t.Errorf("accepted %v, %v, and nobody has come", conn, err)
	}
	over.Shelve()
	over.CloseAll() // which leaves everything to the manager
	if err := dial(s.Of("a")[0]); err != nil {
		t.Error(err)
	}
}

// What cannot be a state is an error.
func TestRestoreErrors(t *testing.T) {
	socket := func(fd string) string {
		return `{"service":"a","socket":{"fd":` + fd + `,"local":"127.0.0.1:7","directory":-1},"heir":-1}`
	}
	for text, want := range map[string]string{
		`{"order":["a","a"]}`:                                                                                                     "service a comes twice",
		`{"order":["a"],"listeners":[` + socket("9") + `]}`:                                                                       "listener 127.0.0.1:7: descriptor 9 did not go over",
		`{"order":["a"],"listeners":[` + socket("-1") + `]}`:                                                                      "listener 127.0.0.1:7: there is no descriptor",
		`{"order":["a"],"listeners":[` + socket("3") + `,` + socket("3") + `]}`:                                                   "listener 127.0.0.1:7: descriptor 3 has two owners",
		`{"order":[],"listeners":[` + socket("3") + `]}`:                                                                          "listener 127.0.0.1:7 of service a is not in force",
		`{"order":["a"],"listeners":[],"replaced":[` + socket("3") + `]}`:                                                         "listener 127.0.0.1:7 has no heir",
		`{"order":["a"],"listeners":[{"socket":{"fd":3,"directory":-1}}]}`:                                                        "a listener has either an address or a path",
		`{"passed":[{"service":"a","name":"a","fd":9}]}`:                                                                          `socket "a" of service a: descriptor 9 did not go over`,
		`{"listeners":[{"service":"b","socket":{"fd":3,"path":"QHg=","directory":-1}}]}`:                                          `listener unix:@x: there is no service "b"`,
		`{"listeners":[{"service":"a","socket":{"fd":3,"path":"QHg=","directory":-1},"endpoint":{"service":"a","passed":true}}]}`: "listener unix:@x: service a has no endpoint 0",
	} {
		var st State
		if err := json.Unmarshal([]byte(text), &st); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		d := carry.NewDescriptors()
		d.Keep(3)
		spec := specs(t, "[service.a]\nlisten = ['127.0.0.1:0']\n"+cat)[0]
		err := NewSet(nil, false, zap.NewNop()).Restore(&st, d, func(name string) *service.Spec {
			if name == "a" {
				return spec
			}
			return nil
		})
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", text, err, want)
		}
	}
}

// An endpoint is the same one after it was handed over, whatever its address is.
func TestEndpointGoesOver(t *testing.T) {
	for _, text := range []string{"127.0.0.1:7", ":7", "[::]:7", "[fe80::1%lo]:7", "localhost:7", "unix:/x", "unix:@x"} {
		address, err := config.ParseAddress(text)
		if err != nil {
			t.Fatal(err)
		}
		e := endpoint{address: address, service: "a", nth: 2, passed: true}
		encoded, err := json.Marshal(e.export())
		if err != nil {
			t.Fatal(err)
		}
		var st EndpointState
		if err := json.Unmarshal(encoded, &st); err != nil {
			t.Fatal(err)
		}
		if got := st.endpoint(); got != e {
			t.Errorf("%s: %+v, want %+v", text, got, e)
		}
	}
}
