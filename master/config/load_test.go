package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// worker is the start of a configuration that has a worker binary.
func worker(t testing.TB) string {
	path := filepath.Join(t.TempDir(), workerName)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("[master]\nworker-binary = %q\n", path)
}

// sameConfig compares configurations without the positions of their keys.
var sameConfig = []cmp.Option{
	cmpopts.IgnoreUnexported(Config{}, Service{}, Rule{}),
	cmp.Comparer(func(a, b Address) bool { return a == b }),
	cmp.Comparer(func(a, b PeerSet) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

// A configuration with many keys is loaded completely.
func TestParseDesign(t *testing.T) {
	c, err := Parse("preforkd.toml", []byte(worker(t)+`drain-timeout = "30s"

[service.echo]
listen  = ["127.0.0.1:7007", "unix:/run/preforkd/echo.sock"]
handler = "echo"

[service.git]
listen  = [":9418"]
program = ["/bin/sh", "daemon", "--inetd", "--export-all", "/srv/git"]
handoff = "stdio"
max-connections            = 200      # slots of this service
max-connections-per-source = 10
overflow                   = "wait"
rate                       = "50/s"
burst                      = "100"
rate-per-source            = "5/s"
allow = ["10.0.0.0/8", "fd00::/8"]
proxy-protocol = ["10.0.0.0/8"]
`), Run{})
	if err != nil {
		t.Fatal(err)
	}
	git := c.Services[1]
	if git.Name != "git" || git.MaxConnections != 200 || git.Rate.String() != "50/s" || git.Burst != 100 || git.BurstPerSource != 5 ||
		git.Allow[1].String() != "fd00::/8" || git.Program[1] != "daemon" || git.Handoff != HandoffStdio {
		t.Errorf("parsed to %+v", git)
	}
	if echo := c.Services[0]; echo.Name != "echo" || len(echo.Listen) != 2 || echo.Handoff != HandoffWorker {
		t.Errorf("parsed to %+v", echo)
	}
}

const minimal = "[service.a]\nlisten = [':1']\nhandler = 'echo'\n"

// Each error has its position, and says what was found and what is allowed.
func TestMistakesInFiles(t *testing.T) {
	service := "[service.a]\nlisten = [':1']\nhandler = 'echo'\n" // what follows is line 4
	program := "[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\n"
	for _, c := range []struct {
		name, text, want string
		follows          bool // another error follows from it
	}{
		{"syntax", "[service.a\n", `f:1:11: not valid TOML: `, false},
		{"key twice", service + "backlog = 1\nbacklog = 2\n", `f:5:1: not valid TOML: `, false},
		{"nothing", "", `f:1:1: there is no service; one begins with [service.NAME]`, false},
		{"unknown table", minimal + "[serivce.b]\n", `f:4:2: unknown key "serivce"; did you mean "service"?`, false},
		{"unknown key", service + "max-conections = 5\n", `f:4:1: service.a: unknown key "max-conections"; did you mean "max-connections"?`, false},
		{"far from any key", minimal + "[master]\nxyzzy = 5\n", `f:5:1: master: unknown key "xyzzy"; allowed are control, control-group, control-mode, control-owner, drain-timeout, `, true},
		{"key of a later feature", minimal + "[master]\ncgroup = 'x'\n", `f:5:1: master: unknown key "cgroup"; allowed are `, true},
		{"capitals", service + "Backlog = 5\n", `unknown key "Backlog"; did you mean "backlog"?`, false},
		{"service is no table", "service = 5\n", `f:1:11: service 5: must be a table, written [service.NAME]`, false},
		{"a service is no table", "service.a = 5\n", `f:1:13: service "a": must be a table, written [service.NAME]`, false},
		{"wrong type", service + "max-connections = 'many'\n", `f:4:19: service.a: max-connections "many": must be an integer`, false},
		{"a number in quotes", service + "max-connections = '5'\n", `max-connections "5": must be an integer`, false},
		{"fraction", service + "max-connections = 1.5\n", `f:4:19: service.a: max-connections 1.5: must be an integer`, false},
		{"too small", service + "max-connections = 0\n", `f:4:19: service.a: max-connections 0: must be at least 1`, false},
		{"too large", service + "source-prefix-v4 = 33\n", `f:4:20: service.a: source-prefix-v4 33: must be at most 32`, false},
		{"beyond 64 bits", service + "backlog = 99999999999999999999\n", `f:4:11: not valid TOML: `, false},
		{"no list", service + "allow = '10.0.0.0/8'\n", `f:4:9: service.a: allow "10.0.0.0/8": must be a list`, false},
		{"item of a list", service + "allow = ['10.0.0.0/8',\n  '10.0.0.0/33']\n", `f:5:3: service.a: allow "10.0.0.0/33": must be an IP address or prefix`, false},
		{"item of another type", service + "allow = ['10.0.0.0/8', 5]\n", `f:4:24: service.a: allow 5: must be a string`, false},
		{"bits beyond the length", service + "allow = ['10.0.0.1/8']\n", `allow "10.0.0.1/8": has bits set beyond the prefix length; did you mean "10.0.0.0/8"?`, false},
		{"no user", service + "allow = ['uid:']\n", `allow "uid:": must name an account after the colon`, false},
		{"unknown user in a list", service + "deny = ['unix', 'uid:no-such-user']\n", `f:4:17: service.a: deny "uid:no-such-user": there is no such user`, false},
		{"bool", service + "nodelay = 'yes'\n", `f:4:11: service.a: nodelay "yes": must be true or false`, false},
		{"duration", service + "max-lifetime = '5'\n", `f:4:16: service.a: max-lifetime "5": must be a duration such as "30s"`, false},
		{"negative duration", service + "max-lifetime = '-5s'\n", `max-lifetime "-5s": must not be negative`, false},
		{"duration as a number", service + "max-lifetime = 5\n", `max-lifetime 5: must be a string`, false},
		{"rate", service + "rate = '50'\n", `f:4:8: service.a: rate "50": must be a rate such as "50/s"`, false},
		{"rate of nothing", service + "rate = '0/s'\n", `rate "0/s": must be a rate`, false},
		{"rate per day", service + "rate = '5/d'\n", `rate "5/d": must be a rate`, false},
		{"burst without a rate", service + "burst = 5\n", `f:4:9: service.a: burst 5: there is no rate`, false},
		{"burst of words", service + "rate = '5/s'\nburst = 'many'\n", `burst "many": must be an integer`, false},
		{"choice", service + "overflow = 'drop'\n", `f:4:12: service.a: overflow "drop": must be wait or refuse`, false},
		{"choice of three", service + "stderr = 'file'\n", `stderr "file": must be inherit, null or log`, false},
		{"log", service + "log = 'some'\n", `f:4:7: service.a: log "some": must be all, failures or none`, false},
		{"drop", service + "random-early-drop = '1:2'\n", `random-early-drop "1:2": must be "start:percent:full"`, false},
		{"drop percent", service + "random-early-drop = '1:200:3'\n", `percent must be from 1 to 100`, false},
		{"drop order", service + "random-early-drop = '5:20:3'\n", `full must not be less than start`, false},
		{"drop never", service + "random-early-drop = '256:20:300'\n", `there are never 257 connections with max-connections 256`, false},
		{"mode", service + "umask = '888'\n", `f:4:9: service.a: umask "888": must be octal digits`, false},
		{"mode as a number", service + "umask = 22\n", `umask 22: must be a string`, false},
		{"variable", service + "env = ['A=1', '=2']\n", `f:4:15: service.a: env "=2": must be "NAME=value"`, false},
		{"variable twice", service + "env = ['A=1', 'A']\n", `f:4:15: service.a: env "A": A is set twice`, false},
		{"no processors", service + "worker-processors = 0\n", `f:4:21: service.a: worker-processors 0: must be at least 1`, false},
		{"too many processors", service + "worker-processors = 1025\n", `f:4:21: service.a: worker-processors 1025: must be at most 1024`, false},
		{"processors in words", service + "worker-processors = 'all'\n", `f:4:21: service.a: worker-processors "all": must be an integer or auto`, false},
		{"processors twice", service + "env = ['GOMAXPROCS=2']\nworker-processors = 2\n", `f:5:21: service.a: worker-processors 2: sets GOMAXPROCS, which env sets as well; only one of them can be given`, false},
		{"processors twice, master's own", program + "env = ['GOMAXPROCS']\nworker-processors = 2\n", `f:5:21: service.a: worker-processors 2: sets GOMAXPROCS`, false},
		{"slack without a unit", service + "timer-slack = '200'\n", `f:4:15: service.a: timer-slack "200": must be a duration from "1ns" to "1s", such as "200us", or auto`, false},
		{"no slack", service + "timer-slack = '0s'\n", `f:4:15: service.a: timer-slack "0s": must be a duration from "1ns"`, false},
		{"negative slack", service + "timer-slack = '-1us'\n", `f:4:15: service.a: timer-slack "-1us": must be a duration from "1ns"`, false},
		{"less slack than there is", service + "timer-slack = '0.5ns'\n", `f:4:15: service.a: timer-slack "0.5ns": must be a duration from "1ns"`, false},
		{"too much slack", service + "timer-slack = '1.000000001s'\n", `f:4:15: service.a: timer-slack "1.000000001s": must be a duration from "1ns" to "1s"`, false},
		{"slack as a number", service + "timer-slack = 200\n", `f:4:15: service.a: timer-slack 200: must be a string`, false},
		{"reserved variable", service + "env = ['PROTO=x']\n", `env "PROTO=x": PROTO is set by preforkd`, false},
		{"exit code", service + "penalty-exit-codes = [0]\n", `f:4:23: service.a: penalty-exit-codes 0: must be at least 1`, false},
		{"signal", service + "penalty-signals = ['SEGFAULT']\n", `penalty-signals "SEGFAULT": must be the name of a signal`, false},
		{"penalty beyond its cap", service + "penalty = '1h'\n", `penalty-max 10m0s: must not be less than penalty, 1h0m0s`, false},
		{"no penalty", service + "penalty-exit-codes = [1]\npenalty = '0s'\n", `f:5:11: service.a: penalty 0s: must be more than nothing`, false},
		{"no proxy timeout", service + "proxy-protocol = ['::1']\nproxy-timeout = '0s'\n", `proxy-timeout 0s: must be more than nothing`, false},
		{"no listen", "[service.a]\nhandler = 'echo'\n", `f:1:10: service.a: listen is missing, and no socket was passed by a service manager`, false},
		{"empty listen", "[service.a]\nlisten = []\nhandler = 'echo'\n", `f:2:10: service.a: listen a list: is empty`, false},
		{"address", "[service.a]\nlisten = ['7007']\nhandler = 'echo'\n", `f:2:11: service.a: listen "7007": the port is missing`, false},
		{"no handler", "[service.a]\nlisten = [':1']\n", `f:1:10: service.a: handler or program is missing`, false},
		{"unknown handler", "[service.a]\nlisten = [':1']\nhandler = 'ehco'\n", `f:3:11: service.a: handler "ehco": there is no such built-in handler (there is: echo); did you mean "echo"?`, false},
		{"handler and program", program + "handler = 'echo'\n", `f:4:11: service.a: handler "echo": there is a program as well`, false},
		{"empty program", "[service.a]\nlisten = [':1']\nprogram = []\n", `program a list: is empty; the first item is the program`, false},
		{"missing program", "[service.a]\nlisten = [':1']\nprogram = ['/nonexistent']\n", `f:3:12: service.a: program "/nonexistent": no such file or directory`, false},
		{"built-in over stdio", service + "handoff = 'stdio'\n", `f:4:11: service.a: handoff stdio: the built-in handler echo`, false},
		{"spares in two ways", service + "spares = 5\nmax-spares = 6\n", `f:4:10: service.a: spares 5: stands for min-spares and max-spares`, false},
		{"spares the wrong way round", service + "min-spares = 5\nmax-spares = 4\n", `f:4:14: service.a: min-spares 5: must not be more than max-spares 4`, false},
		{"more connections without spares", service + "connections-per-worker = 5\n", `f:4:26: service.a: connections-per-worker 5: needs spares`, false},
		{"idle program", program + "idle-timeout = '5s'\n", `f:4:16: service.a: idle-timeout 5s: only workers with handoff worker`, false},
		{"quit word", program + "quit-word = 'x'\n", `f:4:13: service.a: quit-word "x": only the echo handler has one`, false},
		{"two services at one address", minimal + "[service.b]\nlisten = ['[::1]:2', ':1']\nhandler = 'echo'\n", `f:5:22: service.b: listen :1: listed twice, first for service a, f:2:11`, false},
		{"address within another", minimal + "[service.b]\nlisten = ['127.0.0.1:1']\nhandler = 'echo'\n", `f:5:11: service.b: listen 127.0.0.1:1: is taken by :1 of service a, f:2:11`, false},
		{"unknown account", service + "user = 'no-such-user'\n", `f:4:8: service.a: user "no-such-user": there is no such user`, false},
		{"unknown group", service + "group = 'no-such-group'\n", `f:4:9: service.a: group "no-such-group": there is no such group`, false},
		{"supplementary group", service + "supplementary-groups = ['0', 'no-such-group']\n", `f:4:30: service.a: supplementary-groups "no-such-group": there is no such group`, false},
		{"user without a group", service + "user = '54321'\n", `user "54321": there is no such user, so its group must be given as group`, false},
		{"no directory", service + "directory = '/nonexistent'\n", `f:4:13: service.a: directory "/nonexistent": no such file or directory`, false},
		{"relative directory", service + "directory = '.'\n", `directory ".": must be an absolute path`, false},
		{"directory is a file", service + "directory = '/dev/null'\n", `directory "/dev/null": is not a directory`, false},
		{"mode without a socket", service + "socket-mode = '660'\n", `f:4:15: service.a: socket-mode "660": the service listens at no unix socket`, false},
		{"user-timeout", service + "user-timeout = '1500us'\n", `user-timeout 1.5ms: must be whole milliseconds, at most 576h0m0s`, false},
		{"keepalive", service + "keepalive = '100ms'\n", `keepalive 100ms: must be whole seconds from 1s`, false},
		{"device", service + "bind-to-device = 'a/b'\n", `bind-to-device "a/b": is not the name of an interface`, false},
		{"long refusal", service + "refuse-message = '" + long(1025) + "'\n", `f:4:18: service.a: refuse-message of 1025 bytes: at most 1024 are allowed`, false},
		{"rule without peers", service + "[[service.a.rule]]\nenv = ['A=1']\n", `f:4:13: service.a: rule 1: from is missing`, false},
		{"rule is no list", service + "rule = 5\n", `f:4:8: service.a: rule 5: must be a list of tables`, false},
		{"unknown key of a rule", service + "[[service.a.rule]]\nfrm = ['::1']\n", `f:5:1: service.a: rule 1: unknown key "frm"; did you mean "from"?`, true},
		{"rule that denies and sets", service + "[[service.a.rule]]\nfrom = ['::1']\naction = 'deny'\nenv = ['A=1']\n", `f:7:7: service.a: rule 1: env: means nothing in a rule that denies`, false},
		{"two rules for one", service + "[[service.a.rule]]\nfrom = ['::1']\n[[service.a.rule]]\nfrom = ['fd00::/8', '::1']\n", `f:7:21: service.a: rule 2: from "::1": rule 1 is about the same`, false},
		{"program of a rule", program + "[[service.a.rule]]\nfrom = ['::1']\nprogram = ['/nonexistent']\n", `f:6:12: service.a: rule 1: program "/nonexistent": no such file`, false},
		{"program of a rule for a handler", service + "[[service.a.rule]]\nfrom = ['::1']\nprogram = ['/bin/cat']\n", `the service has a handler`, false},
		{"name", "[service.\"a\\u0007\"]\nlisten = [':1']\nhandler = 'echo'\n", `the name must not hold control characters`, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			// A [master] in front would move all lines, and one at the end may
			// be the second.
			text := c.text
			if !strings.Contains(text, "[master]") {
				text += "\n" + worker(t)
			}
			_, err := Parse("f", []byte(text), Run{})
			var errs ConfigErrors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v, want errors", err)
			}
			found := false
			for _, m := range errs {
				found = found || strings.Contains(m.Error(), c.want)
				if !m.At.IsValid() {
					t.Errorf("without a position: %v", m)
				}
				if strings.ContainsAny(m.Error(), "\n\x07") {
					t.Errorf("more than a line: %q", m)
				}
			}
			if !found {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
			if len(errs) > 1 && !c.follows {
				t.Errorf("one mistake, several messages:\n%v", err)
			}
		})
	}
}

// All errors are reported at once, in the order of the file.
func TestAllMistakesAtOnce(t *testing.T) {
	_, err := Parse("f", []byte(worker(t)+`drain-timeout = "soon"
[service.a]
listen = [":1", "nowhere"]
program = ["/nonexistent"]
max-conections = 5
rate = 5
user = "no-such-user"
[service.b]
listen = [":1"]
handler = "echo"
`), Run{})
	if err == nil {
		t.Fatal("no mistake")
	}
	var places []string
	for line := range strings.Lines(err.Error()) {
		places = append(places, strings.Join(strings.SplitN(line, ":", 4)[:3], ":"))
	}
	want := []string{"f:3:17", "f:5:17", "f:6:12", "f:7:1", "f:8:8", "f:9:8", "f:11:11"}
	if diff := cmp.Diff(want, places); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, err)
	}
}

// The printed configuration means the same, and has every key.
func TestPrintedConfigurationRoundTrips(t *testing.T) {
	const others = `user = "0"
group = "0"
supplementary-groups = ["0", "1"]
`
	const everything = `
[service."the first"]
listen = ["127.0.0.1:0", "[fe80::1%1]:7", "unix:/tmp/\u00e4\"b", "unix:@x"]
program = ["/bin/sh", "-c", "a\tb\n\\\u0001"]
handoff = "worker"
` + others + `umask = "027"
directory = "/"
env = ["A=1", "B", "C="]
worker-processors = 3
timer-slack = "1.5us"
min-spares = 1
max-spares = 3
connections-per-worker = 5
stderr = "log"
max-connections = 10
overflow = "refuse"
max-connections-per-source = 2
source-prefix-v4 = 24
source-prefix-v6 = 48
max-sources = 100
rate = "50/m"
burst = "7"
rate-per-source = "1/h"
random-early-drop = "5:30:9"
refuse-message = "busy\r\n"
max-lifetime = "1h30m"
idle-timeout = "1500ms"
allow = ["10.0.0.0/8", "::ffff:192.0.2.1", "uid:0", "gid:0", "unix"]
deny = ["fd00::/8"]
penalty-exit-codes = [1, 255]
penalty-signals = ["SIGSEGV", "KILL"]
penalty = "1s"
penalty-growth = 3
penalty-max = "1m"
penalty-exempt = ["127.0.0.1"]
penalty-dry-run = true
proxy-protocol = ["10.0.0.1"]
proxy-timeout = "1s"
nodelay = false
keepalive = "0s"
defer-accept = "5s"
reuse-port = true
free-bind = true
bind-to-device = "lo"
v6-only = false
backlog = 5
socket-mode = "0660"
socket-owner = "0"
socket-group = "0"
[[service."the first".rule]]
from = ["192.0.2.0/24"]
env = ["D=1"]
program = ["/bin/cat"]
max-connections-per-source = 0
rate-per-source = "none"
burst-per-source = 0
max-lifetime = "0s"
idle-timeout = "1s"
[[service."the first".rule]]
from = ["192.0.2.1"]
action = "deny"
`
	for name, text := range map[string]string{
		"defaults":                   minimal,
		"everything":                 everything,
		"everything but other users": strings.Replace(everything, others, "", 1),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "everything" && os.Geteuid() != 0 {
				needtest.Skip(t, "needs root, who may have workers of other users")
			}
			c, err := Parse("f", []byte(text+"\n"+worker(t)), Run{})
			if err != nil {
				t.Fatal(err)
			}
			printed := c.TOML()
			again, err := Parse("g", []byte(printed), Run{})
			if err != nil {
				t.Fatalf("%v in\n%s", err, printed)
			}
			if diff := cmp.Diff(c, again, sameConfig...); diff != "" {
				t.Errorf("(-first +second):\n%s\n%s", diff, printed)
			}
			if twice := again.TOML(); twice != printed {
				t.Errorf("printed again:\n%s", cmp.Diff(printed, twice))
			}
			for i := range c.Services {
				checkParsedAlone(t, &c.Services[i])
			}
			for _, k := range serviceKeys {
				if k.name != "handler" && k.name != "program" && k.name != "spares" && !strings.Contains(printed, "\n"+k.name+" ") {
					t.Errorf("%s is not printed", k.name)
				}
			}
		})
	}
}

// Flags have the same names, values and errors as keys.
func TestFlagsAreTheKeys(t *testing.T) {
	flags := map[string][]string{
		"listen": {":1", "unix:/x"}, "max-connections": {"010"}, "allow": {"10.0.0.0/8", "::1"}, "nodelay": {"false"},
		"penalty-exit-codes": {"1", "2"}, "rate": {"5/s"}, "burst": {"10"}, "umask": {"022"}, "kill-delay": {"1s"},
	}
	got, err := FromFlags(flags, "", []string{"/bin/cat"}, Run{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := Parse("f", []byte(`[master]
kill-delay = "1s"
[service.cat]
listen = [":1", "unix:/x"]
program = ["/bin/cat"]
max-connections = 10
allow = ["10.0.0.0/8", "::1"]
nodelay = false
penalty-exit-codes = [1, 2]
rate = "5/s"
burst = 10
umask = "022"
`), Run{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, sameConfig...); diff != "" {
		t.Errorf("(-file +flags):\n%s", diff)
	}
	_, err = FromFlags(map[string][]string{"max-connections": {"many"}, "rate": {"5"}, "nodelay": {"perhaps"}, "backlog": {"-1"}, "quit-word": {"x\n"}, "worker-binary": {"/bin/cat"}}, "echo", nil, Run{})
	wantErr := `max-connections "many": must be an integer
rate "5": must be a rate such as "50/s", "10/m" or "1/h", with a number from 1 to 1000000, or "none"
nodelay "perhaps": must be true or false
backlog -1: must be at least 0
quit-word "x\n": must be a single line`
	if err == nil || err.Error() != wantErr {
		t.Errorf("got\n%v\nwant\n%s", err, wantErr)
	}
	for _, f := range Flags() {
		if f.Usage == "" {
			t.Errorf("%s has no usage", f.Name)
		}
	}
}

// Whatever the file contains, there is no panic. Each error has one line and a
// position in the file. What is accepted prints to a text that parses to the
// same.
func FuzzParse(f *testing.F) {
	f.Add(minimal)
	f.Add("[master]\ndrain-timeout = '1s'\n[service.a]\nlisten = [':1', 5]\nhandler = {x = 1}\n[[service.a.rule]]\nfrom = []\n")
	f.Add("a.b.c = 1\n[a.b]\nd = 1979-05-27\n[[a.e]]\n[a.e.f]\n[[service]]\n")
	f.Add("[service.a]\nlisten=['[::1]:1']\nprogram=['/bin/cat']\nrate='5/s'\nburst='0'\nenv=['A=\\u0000']\n'rule'=[{from=['::/0']}]\n")
	f.Add("[service.a]\nlisten=[':1']\nprogram=['/bin/cat']\n[service.a.box]\nlimit-core='1:2'\npreset='strict'\nuser-pool='70000-71000'\ncapabilities=['all']\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse("f", []byte(text), Run{})
		if err != nil {
			var errs ConfigErrors
			if !errors.As(err, &errs) {
				t.Fatalf("%T: %v", err, err)
			}
			lines := strings.Count(text, "\n") + 1
			for _, m := range errs {
				if m.At.Line < 1 || m.At.Line > lines || m.At.Column < 1 || strings.ContainsAny(m.Error(), "\r\n\x1b") {
					t.Errorf("%q", m.Error())
				}
			}
			return
		}
		again, err := Parse("g", []byte(c.TOML()), Run{})
		if err != nil {
			t.Fatalf("%v in\n%s", err, c.TOML())
		}
		if diff := cmp.Diff(c, again, sameConfig...); diff != "" {
			t.Errorf("(-first +second):\n%s", diff)
		}
	})
}
