package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// Each mistake has its place, and one line.
func TestMistakesInBoxes(t *testing.T) {
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	// service is what the service has besides; the box begins in line 5 then.
	for _, c := range []struct{ name, service, box, want string }{
		{"preset", "", "preset = 'hard'", `f:5:10: service.a: box: preset "hard": must be none, basic or strict`},
		{"preset of another type", "", "preset = 5", `f:5:10: service.a: box: preset 5: must be a string`},
		{"unknown key", "", "private-temp = true", `f:5:1: service.a: box: unknown key "private-temp"; did you mean "private-tmp"?`},
		{"unknown limit", "", "limit-nofiles = 5", `f:5:1: service.a: box: unknown key "limit-nofiles"; did you mean "limit-nofile"?`},
		{"type", "", "private-tmp = 'yes'", `f:5:15: service.a: box: private-tmp "yes": must be true or false`},
		{"capability", "", "capabilities = ['chown', 'net_bind']", `f:5:26: service.a: box: capabilities "net_bind": there is no such capability; allowed are audit_control, `},
		{"capability with an error in it", "", "capabilities = ['cap_chwon']", `f:5:17: service.a: box: capabilities "cap_chwon": there is no such capability; did you mean "chown"?`},
		{"all and more", "", "capabilities = ['all', 'chown']", `f:5:17: service.a: box: capabilities "all": there is no such capability; `},
		{"capability twice", "", "capabilities = ['kill', 'CAP_KILL']", `f:5:25: service.a: box: capabilities "kill": is listed twice`},
		{"family", "", "restrict-address-families = ['inet7']", `f:5:30: service.a: box: restrict-address-families "inet7": there is no such family of sockets; did you mean "inet`},
		{"system call", "", "system-calls = ['read', 'Read']", `f:5:25: service.a: box: system-calls "Read": there is no such system call; did you mean "read"?`},
		{"system call that does not exist", "", "system-calls = ['~unknown_call']", `f:5:17: service.a: box: system-calls "~unknown_call": there is no such system call`},
		{"set that does not exist", "", "system-calls = ['@mounts']", `f:5:17: service.a: box: system-calls "@mounts": there is no such set of system calls; did you mean "@mount"?`},
		{"only a tilde", "", "system-calls = ['~']", `f:5:17: service.a: box: system-calls "~": must name a system call`},
		{"only an at sign", "", "system-calls = ['@']", `f:5:17: service.a: box: system-calls "@": there is no such set`},
		{"system call twice", "", "system-calls = ['read', 'read']", `f:5:25: service.a: box: system-calls "read": is listed twice`},
		{"a preset's list after others", "", "system-calls = ['read', '@strict']", `f:5:25: service.a: box: system-calls "@strict": is the list of a preset, which can only begin one`},
		{"a preset's list twice", "", "system-calls = ['@basic', '@basic']", `f:5:27: service.a: box: system-calls "@basic": is listed twice`},
		{"a preset's list taken away", "", "system-calls = ['~@basic']", `f:5:17: service.a: box: system-calls "~@basic": the list of a preset cannot be taken away`},
		{"the list of no preset", "", "system-calls = ['@none']", `f:5:17: service.a: box: system-calls "@none": there is no such set of system calls`},
		{"action", "", "system-calls = ['read']\nsystem-calls-action = 'stop'", `f:6:23: service.a: box: system-calls-action "stop": must be errno, kill or log`},
		{"action for nothing", "", "system-calls-action = 'kill'", `f:5:23: service.a: box: system-calls-action "kill": no system call is denied`},
		{"system", "", "protect-system = 'full'", `f:5:18: service.a: box: protect-system "full": must be no or strict`},
		{"relative path", "", "read-only-paths = ['/etc', 'b']", `f:5:28: service.a: box: read-only-paths "b": must be an absolute path`},
		{"path that is not clean", "", "inaccessible-paths = ['/a/../b/']", `f:5:23: service.a: box: inaccessible-paths "/a/../b/": must be written "/b"`},
		{"NUL in a path", "", `temporary-file-system = ["/a\u0000"]`, `f:5:26: service.a: box: temporary-file-system "/a\x00": must not hold a NUL byte`},
		{"long path", "", "read-only-paths = ['/" + long(4096) + "']", `: has 4097 bytes, at most 4095 are allowed`},
		{"path twice", "", "read-only-paths = ['/a', '/a']", `f:5:26: service.a: box: read-only-paths "/a": is listed twice`},
		{"path in two lists", "", "read-only-paths = ['/a']\ninaccessible-paths = ['/b', '/a']", `f:6:29: service.a: box: inaccessible-paths "/a": is in read-only-paths, too`},
		{"bind at another's path", "", "inaccessible-paths = ['/a']\nbind-paths = ['/etc:/a']", `f:6:15: service.a: box: bind-paths "/a": is in inaccessible-paths, too`},
		{"no program", "", "inaccessible-paths = ['/']", `f:5:23: service.a: box: inaccessible-paths "/": hides the program, too`},
		{"bind at the root", "", "bind-paths = ['/etc:/']", `f:5:15: service.a: box: bind-paths "/": root-directory says what is there`},
		{"bind in parts", "", "bind-paths = ['/a:/b:/c']", `f:5:15: service.a: box: bind-paths "/a:/b:/c": must be "source", "source:target" or "source:target:ro"`},
		{"bind of a relative path", "", "bind-paths = ['a:/b']", `f:5:15: service.a: box: bind-paths "a:/b": source must be an absolute path`},
		{"bind to a relative path", "", "bind-paths = ['/a:b']", `f:5:15: service.a: box: bind-paths "/a:b": target must be an absolute path`},
		{"bind of nothing", "", "bind-paths = ['/etc', '/nonexistent:/b']", `f:5:23: service.a: box: bind-paths "/nonexistent:/b": source: no such file or directory`},
		{"optional path", "", "read-only-paths = ['/etc', '-b']", `f:5:28: service.a: box: read-only-paths "-b": must be an absolute path`},
		{"optional path twice", "", "read-only-paths = ['-/etc', '/etc']", `f:5:29: service.a: box: read-only-paths "/etc": is listed twice`},
		{"optional directory", "", "temporary-file-system = ['-/mnt']", `f:5:26: service.a: box: temporary-file-system "-/mnt": must be an absolute path`},
		{"optional target", "", "bind-paths = ['/etc:-/mnt']", `f:5:15: service.a: box: bind-paths "/etc:-/mnt": target must be an absolute path`},
		{"directory at a file", "", "bind-paths = ['/etc:/etc/passwd']", `f:5:15: service.a: box: bind-paths "/etc:/etc/passwd": /etc/passwd and its source must both be directories, or neither`},
		{"bind at nothing", "", "bind-paths = ['/etc:/nonexistent']", `f:5:15: service.a: box: bind-paths "/etc:/nonexistent": target: no such file or directory (only what is in a temporary-file-system is created)`},
		{"path that does not exist", "", "inaccessible-paths = ['-/nonexistent', '/nonexistent/b']", `f:5:40: service.a: box: inaccessible-paths "/nonexistent/b": no such file or directory`},
		{"path that is hidden", "", "protect-home = true\nread-only-paths = ['/srv']\nread-write-paths = ['/home']", `f:7:21: service.a: box: read-write-paths "/home": is within /home, which protect-home hides`},
		{"writable root", "", "protect-system = 'strict'\nread-write-paths = ['/']", `f:6:21: service.a: box: read-write-paths "/": protect-system = "no" leaves everything writable`},
		{"empty root", "", "temporary-file-system = ['/']", `f:5:26: service.a: box: temporary-file-system "/": hides the program, too; root-directory says what is there`},
		{"root without a directory that a key needs", "", "private-tmp = true\nroot-directory = '" + dir + "'", `f:5:15: service.a: box: private-tmp true: /tmp: no such file or directory`},
		{"program that the root has not", "", "root-directory = '" + dir + "'", `f:3:12: service.a: program "/bin/cat": no such file or directory (in root-directory ` + dir + `)`},
		{"program that is hidden", "", "inaccessible-paths = ['/bin']", `f:3:12: service.a: program "/bin/cat": is within /`},
		{"program that is covered", "", "temporary-file-system = ['/usr']", `f:3:12: service.a: program "/bin/cat": `},
		{"directory that is hidden", "directory = '/root/x'", "protect-home = true", `f:4:13: service.a: directory "/root/x": is within /root, which protect-home hides`},
		{"nothing to make writable", "", "read-write-paths = ['/a']", `f:5:20: service.a: box: read-write-paths "/a": nothing is read-only without protect-system or read-only-paths`},
		{"root that does not exist", "", "root-directory = '/nonexistent'", `f:5:18: service.a: box: root-directory "/nonexistent": no such file or directory`},
		{"root that is a file", "", "root-directory = '" + plain + "'", `": is not a directory`},
		{"relative root", "", "root-directory = '.'", `f:5:18: service.a: box: root-directory ".": must be an absolute path`},
		{"root of all", "", "root-directory = '/'", `f:5:18: service.a: box: root-directory "/": is the root already`},
		{"tmp twice", "", "private-tmp = true\ntemporary-file-system = ['/var/tmp']", `f:6:26: service.a: box: temporary-file-system "/var/tmp": private-tmp says what is there`},
		{"size of nothing", "", "private-tmp-size = '1M'", `f:5:20: service.a: box: private-tmp-size "1M": there is no private-tmp`},
		{"no size", "", "private-tmp = true\nprivate-tmp-size = 0", `f:6:20: service.a: box: private-tmp-size "0": must be at least 4K`},
		{"size without bound", "", "private-tmp = true\nprivate-tmp-size = 'infinity'", `f:6:20: service.a: box: private-tmp-size "infinity": must be a number of bytes such as "512K", "64M" or "1G"`},
		{"unit", "", "memory-max = '64MB'", `f:5:14: service.a: box: memory-max "64MB": must be a number of bytes such as "512K", "64M" or "1G", or "infinity"`},
		{"no memory", "", "memory-max = 0", `f:5:14: service.a: box: memory-max "0": must be at least 4K; "infinity" is no limit`},
		{"negative memory", "", "memory-high = -1", `f:5:15: service.a: box: memory-high "-1": must be a number of bytes`},
		{"too much memory", "", "memory-max = '8388608T'", `f:5:14: service.a: box: memory-max "8388608T": must be less than 2^63 bytes`},
		{"swap", "", "memory-swap-max = 'none'", `f:5:19: service.a: box: memory-swap-max "none": must be a number of bytes`},
		{"no tasks", "", "tasks-max = 0", `f:5:13: service.a: box: tasks-max "0": must be from "1" to "4194304", or "infinity"`},
		{"fraction", "", "tasks-max = 1.5", `f:5:13: service.a: box: tasks-max 1.5: must be a string`},
		{"quota", "", "cpu-quota = 50", `f:5:13: service.a: box: cpu-quota "50": must be from "1%" to "819200%", or "infinity"`},
		{"weight", "", "io-weight = 10001", `f:5:13: service.a: box: io-weight 10001: must be at most 10000`},
		{"high above max", "", "memory-max = '1M'\nmemory-high = '2M'", `f:5:14: service.a: box: memory-max "1M": is less than memory-high, 2M`},
		{"all above one", "", "memory-max = '2M'\nservice-memory-max = '1M'", `f:6:22: service.a: box: service-memory-max "1M": is less than memory-max, 2M`},
		{"high of all above one", "", "memory-high = '2M'\nservice-memory-high = '1M'", `f:6:23: service.a: box: service-memory-high "1M": is less than memory-high, 2M`},
		{"high above max of all", "", "service-memory-high = '2M'\nservice-memory-max = '1M'", `f:6:22: service.a: box: service-memory-max "1M": is less than service-memory-high, 2M`},
		{"swap of all", "", "memory-swap-max = '1M'\nservice-memory-swap-max = 0", `f:6:27: service.a: box: service-memory-swap-max "0": is less than memory-swap-max, 1M`},
		{"tasks of all", "", "tasks-max = 2\nservice-tasks-max = 1", `f:6:21: service.a: box: service-tasks-max "1": is less than tasks-max, 2`},
		{"quota of all", "", "cpu-quota = '100%'\nservice-cpu-quota = '50%'", `f:6:21: service.a: box: service-cpu-quota "50%": is less than cpu-quota, 100%`},
		{"limit", "", "limit-nofile = 'many'", `f:5:16: service.a: box: limit-nofile "many": must be a number, "infinity", or "soft:hard" of them`},
		{"limit with a unit", "", "limit-nproc = '1K'", `f:5:15: service.a: box: limit-nproc "1K": must be a number`},
		{"limit in bytes", "", "limit-as = '1X'", `f:5:12: service.a: box: limit-as "1X": must be a number of bytes such as "512K", "64M" or "1G", "infinity", or "soft:hard" of them`},
		{"limit of three", "", "limit-cpu = '1:2:3'", `f:5:13: service.a: box: limit-cpu "1:2:3": must be a number`},
		{"negative limit", "", "limit-cpu = -1", `f:5:13: service.a: box: limit-cpu "-1": must be a number`},
		{"soft above hard", "", "limit-nofile = '20:10'", `f:5:16: service.a: box: limit-nofile "20:10": soft must not be more than hard`},
		{"soft without end", "", "limit-core = 'infinity:1M'", `f:5:14: service.a: box: limit-core "infinity:1M": soft must not be more than hard`},
		{"beyond the kernel's", "", "limit-nofile = 'infinity'", `f:5:16: service.a: box: limit-nofile "infinity": the kernel grants at most `},
		{"limit of another type", "", "limit-nofile = true", `f:5:16: service.a: box: limit-nofile true: must be a string`},
		{"user and dynamic user", "user = '0'", "dynamic-user = true", `f:6:16: service.a: box: dynamic-user true: the service has user "0"; dynamic-user = false keeps it`},
		{"user and preset", "user = '0'", "preset = 'strict'", `f:6:10: service.a: box: dynamic-user true: the service has user "0"; dynamic-user = false keeps it`},
		{"group and dynamic user", "group = '0'", "dynamic-user = true", `f:6:16: service.a: box: dynamic-user true: the service has group "0"; `},
		{"pool", "", "dynamic-user = true\nuser-pool = '61184'", `f:6:13: service.a: box: user-pool "61184": must be two uids such as "61184-61439"`},
		{"pool with root", "", "dynamic-user = true\nuser-pool = '0-1000'", `f:6:13: service.a: box: user-pool "0-1000": must be within 1-4294967293`},
		{"pool with no user", "", "dynamic-user = true\nuser-pool = '4294960000-4294967294'", `user-pool "4294960000-4294967294": must be within 1-4294967293`},
		{"pool beyond all", "", "dynamic-user = true\nuser-pool = '61184-99999999999999999999'", `user-pool "61184-99999999999999999999": must be two uids`},
		{"pool with nobody", "", "dynamic-user = true\nuser-pool = '65000-65534'", `user-pool "65000-65534": must not hold 65534 and 65535`},
		{"pool with -1", "", "dynamic-user = true\nuser-pool = '65535-70000'", `user-pool "65535-70000": must not hold 65534 and 65535`},
		{"pool the wrong way round", "", "dynamic-user = true\nuser-pool = '70001-70000'", `user-pool "70001-70000": the first must not be more than the last`},
		{"pool with accounts", "", "dynamic-user = true\nuser-pool = '1-60000'", `f:6:13: service.a: box: user-pool "1-60000": the uids 1-60000 overlap the `},
		{"small pool", "max-connections = 300", "dynamic-user = true", `f:6:16: service.a: box: user-pool "61184-61439": has 256 users, and each of 300 connections needs one (max-connections)`},
		{"pool for nobody", "", "user-pool = '70000-71000'", `f:5:13: service.a: box: user-pool "70000-71000": there is no dynamic-user`},
		{"nice", "", "nice = 20", `f:5:8: service.a: box: nice 20: must be at most 19`},
		{"processors", "", "cpu-affinity = '3-1'", `f:5:16: service.a: box: cpu-affinity "3-1": must be processors such as "0-3,8"`},
		{"too many processors", "", "cpu-affinity = '0-2000'", `f:5:16: service.a: box: cpu-affinity "0-2000": must be processors below 1024`},
		{"processors of other machines", "", "cpu-affinity = '1023'", `f:5:16: service.a: box: cpu-affinity "1023": this machine has the processors `},
		{"class", "", "io-class = 'fast'", `f:5:12: service.a: box: io-class "fast": must be realtime, best-effort or idle`},
		{"level", "", "io-class = 'realtime:8'", `f:5:12: service.a: box: io-class "realtime:8": must be realtime`},
		{"level of idle", "", "io-class = 'idle:1'", `f:5:12: service.a: box: io-class "idle:1": must be realtime`},
		{"lifetime twice", "max-lifetime = '1m'", "runtime-max = '2m'", `f:6:15: service.a: box: runtime-max: stands for max-lifetime of the service, which cannot be given as well`},
		{"score twice", "oom-score-adjust = 1", "oom-score-adjust = 1", `f:6:20: service.a: box: oom-score-adjust: stands for oom-score-adjust of the service`},
		{"score", "", "oom-score-adjust = 1001", `f:5:20: service.a: box: oom-score-adjust 1001: must be at most 1000`},
		{"duration", "", "cpu-time-max = 5", `f:5:16: service.a: box: cpu-time-max 5: must be a string`},
		{"leftovers", "leftovers = 'keep'", "private-pids = true", `f:6:16: service.a: box: private-pids true: the service has leftovers = "keep", and nothing is left of this when its connection ends`},
		{"leftovers of a preset", "leftovers = 'keep'", "preset = 'strict'", `f:6:10: service.a: box: private-pids true: the service has leftovers = "keep"`},
		{"shared tmp", "handoff = 'worker'\nspares = 1\nconnections-per-worker = 2", "private-tmp = true", `f:8:15: service.a: box: private-tmp true: the service has connections-per-worker 2, whose connections would share it`},
		{"optional", "", "optional = ['private-tmp', 'privat-network']", `f:5:28: service.a: box: optional "privat-network": is no key of the box that may be missing; did you mean "private-network"?`},
		{"optional preset", "", "optional = ['preset']", `f:5:13: service.a: box: optional "preset": is no key of the box that may be missing`},
		{"optional twice", "", "optional = ['private-tmp', 'private-tmp']", `f:5:28: service.a: box: optional "private-tmp": is listed twice`},
		{"require", "", "require = ['user']", `f:5:12: service.a: box: require "user": is no key of the box that may be missing`},
		{"require and optional", "", "optional = []\nrequire = []", `f:6:11: service.a: box: require: says the same as optional the other way round; only one of them can be given`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if strings.Contains(c.service, "'0'") && os.Geteuid() != 0 {
				needtest.Skip(t, "needs root, who may have workers of other users")
			}
			text := "[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\n"
			if c.service != "" {
				text += c.service + "\n"
			}
			_, err := Parse("f", []byte(text+"[service.a.box]\n"+c.box+"\n"), Run{})
			var errs ConfigErrors
			if !errors.As(err, &errs) {
				t.Fatalf("got %v, want errors", err)
			}
			for _, m := range errs {
				if !m.At.IsValid() || strings.Contains(m.Error(), "\n") {
					t.Errorf("not one line with a place: %q", m.Error())
				}
			}
			if len(errs) != 1 || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got\n%v\nwant\n%s", err, c.want)
			}
		})
	}
}

// A box is a table.
func TestMistakenBoxTables(t *testing.T) {
	for text, want := range map[string]string{
		"box = 5":                               `f:4:7: service.a: box 5: must be a table, written [service.NAME.box]`,
		"[[service.a.box]]\nprivate-tmp = true": `f:4:13: service.a: box a list: must be a table, written [service.NAME.box]`,
		"box = { private-tmp = 1 }":             `f:4:23: service.a: box: private-tmp 1: must be true or false`,
		"box.private-tmp = 1":                   `f:4:19: service.a: box: private-tmp 1: must be true or false`,
		"boxx.private-tmp = true":               `f:4:1: service.a: unknown key "boxx"; did you mean "box"?`,
	} {
		_, err := Parse("f", []byte("[service.a]\nlisten = [':1']\nprogram = ['/bin/cat']\n"+text+"\n"), Run{})
		if err == nil || err.Error() != want {
			t.Errorf("%s: got\n%v\nwant\n%s", text, err, want)
		}
	}
}

// Mistaken flags are named as they were given.
func TestMistakenBoxFlags(t *testing.T) {
	_, err := FromFlags(map[string][]string{
		"box-preset": {"hard"}, "box-private-tmp": {"perhaps"}, "box-capabilities": {"", "kill"}, "box-memory-max": {"1"},
		"box-user-pool": {"1-5"}, "box-oom-score-adjust": {"5"}, "oom-score-adjust": {"5"},
	}, "", []string{"/bin/cat"}, Run{})
	want := `box-preset "hard": must be none, basic or strict
box-capabilities "": there is no such capability; allowed are `
	const last = `box-private-tmp "perhaps": must be true or false
box-user-pool "1-5": there is no dynamic-user
box-memory-max "1": must be at least 4K; "infinity" is no limit
box-oom-score-adjust: stands for oom-score-adjust of the service, which cannot be given as well`
	if err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Fatalf("got\n%v\nwant\n%s", err, want)
	}
	for line := range strings.SplitSeq(last, "\n") {
		if !slices.Contains(strings.Split(err.Error(), "\n"), line) {
			t.Errorf("got\n%v\nwithout\n%s", err, line)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 6 {
		t.Errorf("%d lines:\n%v", n, err)
	}
}
