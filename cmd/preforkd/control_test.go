package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// controlled starts a master with a control socket of its own.
func controlled(t testing.TB, args ...string) *systest.Master {
	t.Helper()
	return systest.Options{Control: true, Args: args}.Start(t)
}

// told runs a command against a master, which must succeed, and returns what it
// prints.
func told(t testing.TB, m *systest.Master, args ...string) string {
	t.Helper()
	r := ran(t, m, args...)
	if r.Code != 0 || r.Stderr != "" {
		t.Fatalf("%v: %+v", args, r)
	}
	return r.Stdout
}

func ran(t testing.TB, m *systest.Master, args ...string) systest.Result {
	t.Helper()
	return systest.Run(t, append([]string{args[0], "--control", m.Control}, args[1:]...)...)
}

// looked takes a look at a master.
func looked(t testing.TB, m *systest.Master) control.Status {
	t.Helper()
	c := control.NewClient(m.Control)
	defer c.Close()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// curl asks a master with curl, and returns the status code and the answer.
func curl(t *testing.T, m *systest.Master, args ...string) (code, answer string) {
	t.Helper()
	path := args[len(args)-1]
	args = append(args[:len(args)-1], "--unix-socket", m.Control, "-sS", "-w", `%{http_code}`, "http://localhost"+path)
	out := command(t, "", systest.Need(t, "curl"), args...)
	return out[len(out)-3:], out[:len(out)-3]
}

func TestStatus(t *testing.T) {
	t.Parallel()
	m := systest.Options{Config: `
[service.one]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
spares = 2
[service.two]
listen = ["127.0.0.1:0", "127.0.0.1:0"]
program = ["/bin/true"]
max-connections = 7
`, Listeners: 3}.Start(t)
	m.Spares = 2
	m.WaitSpares(t, 2)
	m.Baseline(t)
	c := m.Dial(t)
	c.Echo(t, "hello")
	accepted := c.Accepted(t)
	var s control.Status
	systest.Until(t, "served by a program", func() bool {
		s = looked(t, m)
		return len(s.Connections) == 1 && s.Connections[0].State == "serving" && s.Services[0].HandoverLatency != nil
	}, func() string { return fmt.Sprintf("%+v", s) })

	me := s.Master
	if me.PID != m.PID || me.State != "serving" || me.Config != m.Config || me.LogLevel != "info" || me.Uptime <= 0 || me.RSS == 0 || me.OpenFiles == 0 || len(me.Problems) != 0 {
		t.Errorf("%+v", me)
	}
	one, two := s.Services[0], s.Services[1]
	if one.Name != "one" || one.Handler != "/bin/cat" || one.Handoff != "stdio" || one.State != "serving" || one.Live != 1 || one.Slots != 1 || one.Limit != 256 ||
		one.Spares == nil || one.Spares.Min != 2 || one.SpawnLatency == nil || one.SpawnLatency.Count < 3 || one.SpawnLatency.P99 < one.SpawnLatency.P50 ||
		one.HandoverLatency.Count != 1 || one.Sources != 1 {
		t.Errorf("%+v", one)
	}
	if two.Name != "two" || two.Limit != 7 || two.Live != 0 || two.SpawnLatency != nil || two.Spares != nil || len(two.Listeners) != 2 ||
		two.Listeners[0].Local != m.Listeners[1].Address || two.Listeners[0].Queue == nil || *two.Listeners[0].Queue != 0 || *two.Listeners[0].Backlog < 1 {
		t.Errorf("%+v", two)
	}
	conn := s.Connections[0]
	if conn.ID != accepted.Conn || conn.Service != "one" || conn.PID != accepted.PID || conn.Peer != c.LocalAddr().String() ||
		conn.Local != m.Listeners[0].Address || conn.Age <= 0 || conn.CPU == nil || conn.RSS == nil || *conn.RSS == 0 {
		t.Errorf("%+v", conn)
	}
	// The command and curl tell the same.
	var printed, fetched control.Status
	if err := json.Unmarshal([]byte(told(t, m, "status", "--json")), &printed); err != nil || printed.Connections[0].ID != conn.ID {
		t.Errorf("%v: %+v", err, printed)
	}
	code, text := curl(t, m, "/v1/status")
	if err := json.Unmarshal([]byte(text), &fetched); err != nil || code != "200" || fetched.Connections[0].ID != conn.ID {
		t.Errorf("%s, %v: %s", code, err, text)
	}
	if !strings.Contains(told(t, m, "status"), conn.ID) {
		t.Error("the connection is not in what people read")
	}
	if out := told(t, m, "status", "--check"); out != "serving\n" {
		t.Errorf("%q", out)
	}
}

// Bad requests get an error that is JSON, whoever makes them.
func TestCurl(t *testing.T) {
	t.Parallel()
	m := controlled(t, program("/bin/cat")...)
	for _, c := range []struct {
		args []string
		code string
		want string
	}{
		{[]string{"/v1/nothing"}, "404", `"error":"there is nothing at`},
		{[]string{"-X", "DELETE", "/v1/status"}, "405", `"error":`},
		{[]string{"-d", "{", "/v1/drain"}, "400", `"error":`},
		{[]string{"-d", `{"service":"` + strings.Repeat("x", 70_000) + `"}`, "/v1/drain"}, "413", `"error":`},
		{[]string{"-d", `{"level":"loud"}`, "/v1/log-level"}, "400", `"error":"log level`},
		{[]string{"-X", "POST", "/v1/connections/nobody/kill"}, "404", `"error":"there is no live connection`},
		{[]string{"-X", "POST", "/v1/reload"}, "409", `"error":"nothing to reload`},
		{[]string{"/v1/explain?address=127.0.0.1"}, "200", `"outcome":"admitted"`},
		{[]string{"-d", `{"level":"debug"}`, "/v1/log-level"}, "200", `{"level":"debug","before":"info"}`},
	} {
		if code, answer := curl(t, m, c.args...); code != c.code || !strings.Contains(answer, c.want) {
			t.Errorf("%v: %s %s", c.args[:len(c.args)-1], code, answer)
		}
	}
	m.WaitFor(t, systest.Is("log level changed"))
}

// Who listens at nothing is not running; whoever is asked for nonsense says so.
func TestControlCommandsWithoutAMaster(t *testing.T) {
	t.Parallel()
	nowhere := filepath.Join(systest.Dir(t), "none", "control.sock")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"status", "--control", nowhere}, 3, "no preforkd listens at " + nowhere},
		{[]string{"status", "--check", "--control", nowhere}, 3, "no preforkd listens at " + nowhere},
		{[]string{"status"}, 3, "no preforkd listens at /"},
		{[]string{"drain", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"reload", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"upgrade", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"upgrade", "x"}, 2, "upgrade takes no arguments"},
		{[]string{"upgrade", "--binary", ""}, 2, `--binary "": the path is empty`},
		{[]string{"upgrade", "--config="}, 2, `--config "": the path is empty`},
		{[]string{"kill", "x", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"log-level", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"explain", "::1", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"status", "x"}, 2, "status takes no arguments"},
		{[]string{"status", "--check", "--json"}, 2, "check json"},
		{[]string{"drain", "a", "b"}, 2, "drain takes at most one service"},
		{[]string{"drain", ""}, 2, "the name is empty"},
		{[]string{"resume", "x", "--control", nowhere}, 1, "no preforkd listens at " + nowhere},
		{[]string{"resume"}, 2, "resume takes one service"},
		{[]string{"resume", ""}, 2, "the name is empty"},
		{[]string{"kill"}, 2, "kill takes one connection"},
		{[]string{"kill", "x", "--signal", "DEAD"}, 2, `signal "DEAD"`},
		{[]string{"log-level", "loud"}, 2, "write debug, info, warn or error"},
		{[]string{"explain"}, 2, "explain takes an address"},
	} {
		r := systest.Run(t, c.args...)
		if r.Code != c.code || !strings.Contains(r.Stderr, c.want) || r.Stdout != "" {
			t.Errorf("%v: %+v", c.args, r)
		}
		oneLine(t, r.Stderr)
	}
}

// A socket that a crash has left behind is replaced; its directory may vanish,
// and come back by a reload.
func TestStaleControlSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(systest.Dir(t), "run", "control.sock")
	ports := held(t, 1)
	text := func(mode string) string {
		return fmt.Sprintf("[master]\ncontrol = %q\ncontrol-mode = %q\n", path, mode) + at("one", ports, catting)
	}
	first := configured(t, 1, text("0660"))
	first.Control = path
	looked(t, first)
	first.Kill(t)
	if _, err := os.Lstat(path); err != nil {
		t.Fatal(err)
	}
	m := configured(t, 1, text("0600"))
	m.Control = path
	if s := looked(t, m); s.Master.PID != m.PID {
		t.Errorf("%+v", s.Master)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	// It survives a reload, which may change its mode.
	reloaded(t, m, text("0640"))
	if info, err := os.Lstat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info, err)
	}
	open := control.NewClient(path)
	defer open.Close()
	if _, err := open.Status(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	s, err := open.Status(t.Context())
	if err != nil || len(s.Master.Problems) != 1 || !strings.Contains(s.Master.Problems[0].Reason, "is gone") {
		t.Errorf("%+v, %v", s.Master, err)
	}
	reloaded(t, m, text("0640"))
	if s := looked(t, m); len(s.Master.Problems) != 0 {
		t.Errorf("%+v", s.Master.Problems)
	}
	m.Baseline(t)
	m.Stop(t)
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket of a stopped master: %v", err)
	}
}

// Two masters never share a socket: at the default place the second runs
// without, where it was told to be it does not start.
func TestTwoMastersAndOneSocket(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	env := []string{"RUNTIME_DIRECTORY=" + dir}
	first := systest.Options{Control: true, Env: env, Args: program("/bin/cat")}.Start(t)
	path := first.WaitFor(t, systest.Is("control")).Local
	if path != "unix:"+filepath.Join(dir, "control.sock") {
		t.Fatal(path)
	}
	first.Control = strings.TrimPrefix(path, "unix:")
	second := systest.Options{Control: true, Env: env, Args: program("/bin/cat")}.Start(t)
	if e := second.WaitFor(t, systest.Is("control")); e.Level != "warn" || !strings.Contains(e.Error, "address already in use by a live server") {
		t.Errorf("%s", e.Line)
	}
	second.Dial(t).Echo(t, "hello")
	r := systest.Run(t, "serve", "--listen", "127.0.0.1:0", "--control", first.Control, "--", "/bin/cat")
	if r.Code != 1 || !strings.HasSuffix(r.Stderr, "address already in use by a live server\n") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r.Stderr)
	second.Stop(t)
	if s := looked(t, first); s.Master.PID != first.PID {
		t.Errorf("%+v", s.Master)
	}
}

// A reload moves the socket, or says why not.
func TestReloadMovesTheControlSocket(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	ports := held(t, 1)
	text := func(control string) string {
		return fmt.Sprintf("[master]\ncontrol = %q\n", control) + at("one", ports, catting)
	}
	taken, err := net.Listen("unix", filepath.Join(dir, "taken"))
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	m := configured(t, 1, text("none"))
	if _, err := os.Lstat(m.Control); !os.IsNotExist(err) {
		t.Fatalf("there is a socket: %v", err)
	}
	reloaded(t, m, text("auto"))
	if s := looked(t, m); s.Master.PID != m.PID {
		t.Errorf("%+v", s.Master)
	}
	for _, control := range []string{filepath.Join(dir, "taken"), filepath.Join(dir, "no", "where", "x"), "relative"} {
		if e := m.Reload(t, text(control)); e.Msg != systest.NotReloaded || !strings.Contains(e.Error, "control") {
			t.Errorf("%s: %s", control, e.Line)
		}
	}
	looked(t, m)
	// Over the socket that goes away as over any other, the answer comes.
	before := m.Control
	m.WriteConfig(t, text(filepath.Join(dir, "moved")))
	if out := told(t, m, "reload"); out != "reloaded; no service has changed\n" {
		t.Errorf("%q", out)
	}
	systest.Until(t, "the old socket is gone", func() bool { _, err := os.Lstat(before); return os.IsNotExist(err) }, nil)
	m.Control = filepath.Join(dir, "moved")
	looked(t, m)
	m.WriteConfig(t, text("none"))
	told(t, m, "reload")
	systest.Until(t, "the moved socket is gone", func() bool { _, err := os.Lstat(m.Control); return os.IsNotExist(err) }, nil)
}

// With --once nobody looks, unless somebody asks for it.
func TestOnceHasNoControlSocket(t *testing.T) {
	t.Parallel()
	m := controlled(t, "--once", "--", "/bin/cat")
	if _, err := os.Lstat(m.Control); !os.IsNotExist(err) {
		t.Errorf("there is a socket: %v", err)
	}
	m.Dial(t).Close()
	m.WaitExit(t)
	m = systest.Start(t, "--once", "--control", filepath.Join(systest.Dir(t), "s"), "--", "/bin/cat")
	c := m.Dial(t)
	c.Echo(t, "hello")
	m.Control = strings.TrimPrefix(m.WaitFor(t, systest.Is("control")).Local, "unix:")
	// A program can answer before the loop has heard that it was started.
	systest.Until(t, "one connection in sight", func() bool { return len(looked(t, m).Connections) == 1 }, nil)
	c.Close()
	m.WaitExit(t)
}

// Reading is for whom the socket's file lets in, acting for root and the
// master's own user.
func TestControlPermissions(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	const user, group, stranger = 65534, 12345, 54321
	as := func(uid, gid uint32, groups ...uint32) systest.Options {
		return systest.Options{Attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid, Groups: groups}}}
	}
	m := controlled(t, "--control-group", fmt.Sprint(group), "--", "/bin/cat")
	var file unix.Stat_t
	if err := unix.Lstat(m.Control, &file); err != nil || file.Mode != unix.S_IFSOCK|0o660 || file.Uid != 0 || file.Gid != group {
		t.Errorf("the socket is %o of %d and %d, %v", file.Mode, file.Uid, file.Gid, err)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	conn := c.Accepted(t).Conn
	run := func(o systest.Options, args ...string) systest.Result {
		return o.Run(t, append([]string{args[0], "--control", m.Control}, args[1:]...)...)
	}
	for name, member := range map[string]systest.Options{"by its group": as(user, group), "by another group of its": as(user, user, group)} {
		for _, args := range [][]string{{"status"}, {"log-level"}, {"explain", "::1"}} {
			if r := run(member, args...); r.Code != 0 {
				t.Errorf("member %s, %v: %+v", name, args, r)
			}
		}
		for _, args := range [][]string{{"drain"}, {"drain", "cat"}, {"resume", "cat"}, {"reload"}, {"log-level", "debug"}, {"kill", conn}} {
			r := run(member, args...)
			if r.Code != 1 || !strings.Contains(r.Stderr, "only root and uid 0, which the master runs as, may do that, and not uid 65534") {
				t.Errorf("member %s, %v: %+v", name, args, r)
			}
			oneLine(t, r.Stderr)
		}
	}
	r := run(as(stranger, stranger), "status")
	if r.Code != 1 || !strings.Contains(r.Stderr, "permission denied: only user root and group 12345 may connect") {
		t.Errorf("stranger: %+v", r)
	}
	oneLine(t, r.Stderr)
	// A member that asks with curl sees the same.
	line := append([]string{"--reuid=65534", "--regid=12345", "--clear-groups"}, systest.Need(t, "curl"), "-sS", "-w", `%{http_code}`,
		"--unix-socket", m.Control, "-X", "POST", "http://localhost/v1/drain")
	if out := command(t, "", systest.Need(t, "setpriv"), line...); !strings.HasSuffix(out, "403") || !strings.Contains(out, `"error":`) {
		t.Errorf("%s", out)
	}
	c.Echo(t, "still here")

	// The file may be somebody else's, who then may look, but not act.
	m = controlled(t, "--control-owner", fmt.Sprint(stranger), "--control-mode", "0600", "--", "/bin/cat")
	if r := run(as(stranger, stranger), "status"); r.Code != 0 {
		t.Errorf("the owner: %+v", r)
	}
	if r := run(as(stranger, stranger), "drain"); r.Code != 1 || !strings.Contains(r.Stderr, "and not uid 54321") {
		t.Errorf("the owner: %+v", r)
	}
	if r := run(as(user, group), "status"); r.Code != 1 || !strings.Contains(r.Stderr, "permission denied: only user 54321 may connect") {
		t.Errorf("another user: %+v", r)
	}

	// A master that is not root's is its own user's, and root's.
	dir := systest.Dir(t)
	if err := os.Chown(dir, user, user); err != nil {
		t.Fatal(err)
	}
	o := as(user, user)
	o.Control, o.Env, o.Args = true, []string{"RUNTIME_DIRECTORY=" + dir}, program("/bin/cat")
	m = o.Start(t)
	m.Control = filepath.Join(dir, "control.sock")
	if r := run(as(user, group), "log-level", "warn"); r.Code != 0 {
		t.Errorf("its own user: %+v", r)
	}
	if r := run(systest.Options{}, "log-level", "info"); r.Code != 0 {
		t.Errorf("root: %+v", r)
	}
}

// Silent, slow and oversized clients hold up neither the master nor those who
// have something to ask.
func TestControlUnderSiege(t *testing.T) {
	t.Parallel()
	m := controlled(t, program("/bin/cat")...)
	var conns []net.Conn
	for i := range 200 {
		conn, err := net.Dial("unix", m.Control)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		switch i % 4 {
		case 1:
			fmt.Fprint(conn, "GET /v1/status HTTP/1.1\r\nHost: ")
		case 2:
			fmt.Fprint(conn, "POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n{")
		case 3:
			fmt.Fprint(conn, "GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n") // and reads nothing
		}
		conns = append(conns, conn)
	}
	looked(t, m)
	if out := told(t, m, "status", "--check"); out != "serving\n" {
		t.Errorf("%q", out)
	}
	m.Dial(t).Echo(t, "hello")
	for _, conn := range conns {
		conn.Close()
	}
	if s := looked(t, m); s.Master.State != "serving" {
		t.Errorf("%+v", s.Master)
	}
}

// With a process for each of 2,000 connections a look shows all of them.
func TestStatusOfManyConnections(t *testing.T) {
	t.Parallel()
	const n = 2000
	limit := unix.Rlimit{Cur: 8192, Max: 8192}
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < n+500 {
		systest.Skip(t, "needs a limit of 2,500 open files")
	}
	m := controlled(t, "--max-connections", fmt.Sprint(n), "--", "/bin/cat")
	m.DialAll(t, n)
	var s control.Status
	systest.Until(t, "with all connections in sight", func() bool {
		s = looked(t, m)
		return len(s.Connections) == n
	}, func() string { return fmt.Sprintf("%d of %d live", len(s.Connections), s.Master.Live) })
	service := s.Services[0]
	if s.Master.Live != n || service.Live != n || service.Slots != n || service.Accepted != n || service.SpawnLatency.Count != n || service.Reaped != 0 {
		t.Errorf("%+v\n%+v", s.Master, service)
	}
	ids, pids := map[string]bool{}, map[int]bool{}
	for i, c := range s.Connections {
		if c.CPU == nil || c.RSS == nil {
			t.Fatalf("%+v", c)
		}
		if i > 0 && c.Since.Before(s.Connections[i-1].Since) {
			t.Fatalf("%+v comes after %+v", c, s.Connections[i-1])
		}
		ids[c.ID], pids[c.PID] = true, true
	}
	if len(ids) != n || len(pids) != n {
		t.Errorf("%d ids, %d pids", len(ids), len(pids))
	}
	// Many who ask at once share a look.
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			c := control.NewClient(m.Control)
			defer c.Close()
			if s, err := c.Status(t.Context()); err != nil || len(s.Connections) != n {
				t.Errorf("%d connections, %v", len(s.Connections), err)
			}
		})
	}
	all.Wait()
	m.StopSignal = syscall.SIGQUIT
}

// Whatever becomes of connections, the counts add up: at any time, and by cause
// and reason.
func TestCountsAddUp(t *testing.T) {
	t.Parallel()
	dir := systest.Dir(t)
	gone := filepath.Join(dir, "gone")
	systest.CopyProgram(t, "/bin/cat", gone)
	m := configured(t, 3, fmt.Sprintf(`
[service.served]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
spares = 1
[service.failed]
listen = ["127.0.0.1:0"]
program = [%q]
[service.refused]
listen = ["127.0.0.1:0"]
program = ["/bin/cat"]
max-connections-per-source = 1
deny = ["127.0.0.7"]
`, gone))
	m.Spares = 1
	m.WaitSpares(t, 1)
	m.Baseline(t)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	to := func(i int) string { return m.Listeners[i].Address }
	done := make(chan struct{})
	var looks sync.WaitGroup
	looks.Go(func() {
		c := control.NewClient(m.Control)
		defer c.Close()
		for {
			s, err := c.Status(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			addsUp(t, s)
			select {
			case <-done:
				return
			default:
			}
		}
	})
	keep := m.DialTo(t, "tcp", to(2))
	keep.Echo(t, "hello")
	for range 10 {
		c := m.DialTo(t, "tcp", to(0))
		c.Echo(t, "hello")
		c.Close()
		m.DialTo(t, "tcp", to(1)).ExpectGone(t)
		m.DialTo(t, "tcp", to(2)).ExpectGone(t)
	}
	dialFromTo(t, m, "127.0.0.7", to(2)).ExpectGone(t)
	close(done)
	looks.Wait()
	var s control.Status
	systest.Until(t, "all accounted for", func() bool {
		s = looked(t, m)
		return s.Master.Live == 1 && s.Services[0].Reaped == 10
	}, func() string { return fmt.Sprintf("%+v", s.Master) })
	addsUp(t, s)
	served, failed, refused := s.Services[0], s.Services[1], s.Services[2]
	if served.Accepted != 10 || failed.Failed != 10 || failed.FailedByCause["program-missing"] != 10 ||
		refused.RefusedByReason["max-connections-per-source"] != 10 || refused.RefusedByReason["denied"] != 1 || refused.Refused != 11 || refused.Live != 1 {
		t.Errorf("%+v\n%+v\n%+v", served, failed, refused)
	}
	// A program that cannot be started is worth a word, for a while.
	r := ran(t, m, "status", "--check")
	if r.Code != 1 || r.Stdout != "degraded: service failed: the last spawn failed: program-missing\n" {
		t.Errorf("%+v", r)
	}
	systest.CopyProgram(t, "/bin/cat", gone)
	c := m.DialTo(t, "tcp", to(1))
	c.Echo(t, "it is back")
	told(t, m, "status", "--check")
}

// addsUp holds a status to what must be true of its counts at any moment.
func addsUp(t *testing.T, s control.Status) {
	t.Helper()
	var sum control.Counts
	live := uint64(0)
	for _, service := range s.Services {
		c := service.Counts
		if c.Accepted != c.Refused+c.Failed+c.Reaped+service.Live {
			t.Errorf("%s: %+v and %d live", service.Name, c, service.Live)
		}
		for _, parts := range []struct {
			all uint64
			by  map[string]uint64
		}{{c.Refused, service.RefusedByReason}, {c.Failed, service.FailedByCause}} {
			n := uint64(0)
			for _, part := range parts.by {
				n += part
			}
			if n != parts.all {
				t.Errorf("%s: %d are %v", service.Name, parts.all, parts.by)
			}
		}
		sum.Accepted += c.Accepted
		sum.Refused += c.Refused
		sum.Failed += c.Failed
		sum.Reaped += c.Reaped
		live += service.Live
	}
	if sum != s.Master.Counts || live != s.Master.Live || uint64(len(s.Connections)) > live {
		t.Errorf("the sum is %+v with %d live, the master says %+v and %d, and shows %d", sum, live, s.Master.Counts, s.Master.Live, len(s.Connections))
	}
}
