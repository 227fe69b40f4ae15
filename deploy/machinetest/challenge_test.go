package machinetest

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBoxChallenge shows that the limits of the example of deploy/box for challenges hold,
// with the values that it has: JAIL_PIDS, JAIL_MEM and JAIL_CPU of redpwn/jail. The root
// is made of a few files of this machine.
func TestBoxChallenge(t *testing.T) {
	Run(t, func(t *testing.T) {
		notInShort(t) // TestBoxExampleChallenge has what needs no cgroups
		makeChallenge(t)
		text, err := os.ReadFile("/usr/local/share/doc/preforkd/box/challenge.toml")
		if err != nil {
			t.Fatal(err)
		}
		// An emulated machine needs its time.
		edited := strings.NewReplacer(":5000", "127.0.0.1:7007", `"20s"`, `"20m"`).Replace(string(text))
		configure(t, edited)
		startService(t, "box.conf")
		group := "/sys/fs/cgroup" + show(t, "ControlGroup") + "/service-challenge/leaf-*"
		for n, c := range []struct{ script, want string }{
			{"echo fine", `"PREFORKD_EXIT_CODE":"0"`},
			{"head -c 20M /dev/zero | tail -c 20M >/dev/null", `"PREFORKD_LIMIT":"memory"`},
			{"for i in 1 2 3 4 5 6 7; do sleep 1 & done; wait", `"PREFORKD_LIMIT":"tasks"`},
		} {
			conn := dial(t)
			if _, err := io.WriteString(conn, c.script+"\n"); err != nil {
				t.Fatal(err)
			}
			if err := conn.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn)
			t.Logf("%s: %q", c.script, answer)
			awaitReaped(t, n, c.want)
		}
		conn := dial(t)
		if _, err := io.WriteString(conn, "while :; do :; done\n"); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "a loop is held up by cpu-quota", func() bool {
			for _, dir := range matches(t, group) {
				if max, err := os.ReadFile(dir + "/cpu.max"); err != nil || string(max) != "10000 100000\n" {
					continue
				}
				stat, err := os.ReadFile(dir + "/cpu.stat")
				if err == nil && strings.Contains(string(stat), "nr_throttled ") && !strings.Contains(string(stat), "nr_throttled 0\n") {
					return true
				}
			}
			return false
		})
	})
}

func matches(t *testing.T, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// makeChallenge makes the root of the example: a shell that runs what clients send, and
// what it needs.
func makeChallenge(t *testing.T) {
	t.Helper()
	write(t, "/srv/app/run", "#!/bin/sh\nwhile read -r line; do eval \"$line\"; done\n")
	run(t, "sh", "-c", `set -e
cd /srv && chmod 755 app/run && mkdir -p usr/bin dev proc tmp && ln -s usr/bin bin
for program in sh head tail sleep; do
	path=$(command -v $program)
	cp -L "$path" usr/bin/$program
	ldd "$path" | sed -n 's|^[^/]*\(/[^ ]*\).*|\1|p' | while read -r library; do
		mkdir -p ".${library%/*}" && cp -L "$library" ".$library"
	done
done`)
	t.Cleanup(func() {
		run(t, "rm", "-rf", "/srv/app", "/srv/bin", "/srv/dev", "/srv/proc", "/srv/tmp", "/srv/lib", "/srv/lib64", "/srv/usr")
	})
}
