package machinetest

import (
	"net"
	"os"
	"strings"
	"testing"
)

// TestBoxLife shows that nothing that happens to one connection or to the configuration
// reaches the others, and that whatever ends the master leaves nothing of its boxes.
func TestBoxLife(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, shell+"memory-max = \"24M\"\nmemory-swap-max = \"0\"\ntasks-max = 8\n")
		startService(t, "box.conf")
		group := "/sys/fs/cgroup" + show(t, "ControlGroup")
		neighbours := []*talk{dialShell(t), dialShell(t)}
		alive := func() {
			t.Helper()
			for _, n := range neighbours {
				n.isAlive(t)
			}
		}
		for n, c := range []struct{ script, want string }{
			{"head -c 100M /dev/zero | tail -c 100M >/dev/null", `"PREFORKD_LIMIT":"memory"`},
			{"while :; do sh -c 'sleep 1000 & exec sleep 1000' & done", `"PREFORKD_LIMIT":"tasks"`}, // until the shell cannot fork
			{"head -c 100M /dev/zero >/tmp/full", `"PREFORKD_LIMIT":"memory"`},                      // a tmpfs counts as memory
		} {
			dialShell(t).end(t, c.script)
			awaitReaped(t, n, c.want)
			alive()
		}
		run(t, "systemctl", "reload", unit)
		alive()

		ends := func(how string, args ...string) {
			t.Helper()
			run(t, "systemctl", append(args, unit)...)
			for _, n := range neighbours {
				n.isGone(t)
			}
			waitFor(t, "no process of a box is left after "+how, func() bool { return len(pooled(t)) == 0 })
		}
		ends("a restart", "restart")
		neighbours = []*talk{dialShell(t), dialShell(t)}
		before := show(t, "NRestarts")
		ends("the end of the master", "kill", "--signal=KILL", "--kill-whom=main")
		waitFor(t, "the unit is started again", func() bool { return show(t, "NRestarts") != before && show(t, "ActiveState") == "active" })
		neighbours = []*talk{dialShell(t), dialShell(t)}
		// What the first master has made is gone: there are the groups of the live ones.
		if groups := leaves(t, group); len(groups) > len(neighbours)+2 {
			t.Errorf("the groups of connections are %q", groups)
		}
		ends("a stop", "stop")
		if _, err := os.Stat(group); !os.IsNotExist(err) {
			t.Errorf("the cgroup of the unit is left: %v", err)
		}
	})
}

// leaves returns the groups of connections below that of the unit.
func leaves(t *testing.T, group string) []string {
	t.Helper()
	return strings.Fields(run(t, "find", group, "-mindepth", "2", "-type", "d", "-path", "*/service-*"))
}

// TestBoxWithoutTasks shows that a master which may have no more processes and threads
// refuses connections, names the step, and goes on: Go would end it for want of a thread.
func TestBoxWithoutTasks(t *testing.T) {
	Run(t, func(t *testing.T) {
		notInShort(t)
		write(t, ownDropIns+"/tasks.conf", "[Service]\nTasksMax=100\n")
		configure(t, strings.Replace(shell, "max-connections = 20", "max-connections = 200", 1))
		startService(t, "box.conf")
		master := show(t, "MainPID")
		var all []net.Conn
		for range 100 { // each has two processes
			all = append(all, dial(t))
		}
		waitFor(t, "connections are refused", func() bool { return strings.Contains(journal(t, "PREFORKD_EVENT=spawn failed"), "in a box: ") })
		for _, c := range all {
			c.Close()
		}
		waitFor(t, "no process of a box is left", func() bool { return len(pooled(t)) == 0 })
		dialShell(t)
		if now := show(t, "MainPID"); now != master {
			t.Errorf("the master was %s and is %s", master, now)
		}
	})
}
