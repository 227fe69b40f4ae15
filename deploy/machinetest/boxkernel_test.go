package machinetest

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// setSysctl sets a variable below /proc/sys until the test ends. It reports false if the
// kernel has none of the name.
func setSysctl(t *testing.T, name, value string) bool {
	t.Helper()
	path := "/proc/sys/" + name
	before, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		t.Logf("the kernel has no %s", name)
		return false
	}
	if err == nil {
		err = os.WriteFile(path, []byte(value), 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.WriteFile(path, before, 0); err != nil {
			t.Error(err)
		}
	})
	return true
}

// TestBoxWithoutUserNamespaces shows that a box needs none of what distributions take from
// users without privileges, and that a namespace that it does need is one clear error.
func TestBoxWithoutUserNamespaces(t *testing.T) {
	Run(t, func(t *testing.T) {
		notInShort(t)
		denied := func() bool {
			return exec.Command("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "--user", "--map-root-user", "--mount", "true").Run() != nil
		}
		if denied() {
			t.Log("user namespaces are denied to users from the beginning")
		}
		there := 0
		for _, s := range []struct{ name, value string }{
			{"kernel/apparmor_restrict_unprivileged_userns", "1"}, // of AppArmor
			{"kernel/unprivileged_userns_clone", "0"},             // of Debian's kernel
			{"user/max_user_namespaces", "0"},                     // of every kernel
		} {
			if setSysctl(t, s.name, s.value) {
				there++
				t.Logf("with %s = %s user namespaces are denied: %v", s.name, s.value, denied())
			}
		}
		if there == 0 || !denied() {
			t.Errorf("%d of the restrictions are there, and users may make user namespaces", there)
		}
		configure(t, shell)
		startService(t, "box.conf")
		before := dialShell(t)

		for _, n := range []struct{ sysctl, value, keys string }{
			{"user.max_pid_namespaces", "0", "private-pids, "}, {"user.max_net_namespaces", "0", "private-network: "},
			{"user.max_mnt_namespaces", "0", "protect-system, "}, {"fs.mount-max", "1", ""},
		} {
			t.Run(n.sysctl, func(t *testing.T) {
				if !setSysctl(t, strings.ReplaceAll(n.sysctl, ".", "/"), n.value) {
					t.Fatal("it is not there")
				}
				out, err := exec.Command("/usr/local/bin/preforkd", "box", "--config", "/etc/preforkd/preforkd.toml", "echo", "--", "true").CombinedOutput()
				if err == nil || strings.Count(string(out), "\n") != 1 {
					t.Errorf("%v: %s", err, out)
				}
				hasAll(t, string(out), "service echo: box: "+n.keys, "needs room for ", ": a higher sysctl "+n.sysctl)
				before.isAlive(t)
			})
		}
		dialShell(t)
	})
}

// TestBoxBesideDynamicUsers shows that no connection has the user of a service of systemd,
// whose users are of the same range.
func TestBoxBesideDynamicUsers(t *testing.T) {
	Run(t, func(t *testing.T) {
		const dynamic = "preforkd-dynamic.service"
		run(t, "systemd-run", "--unit="+dynamic, "--property=DynamicUser=yes", "--property=Type=exec", "sleep", "1000")
		stop := func() { _ = exec.Command("systemctl", "stop", dynamic).Run() }
		t.Cleanup(stop)
		pid := strings.TrimSpace(run(t, "systemctl", "show", "--value", "--property=MainPID", dynamic))
		uid, err := strconv.Atoi(strings.TrimSpace(run(t, "ps", "-o", "uid=", "-p", pid)))
		if err != nil || uid < 61184 || uid > 65519 {
			t.Fatalf("the dynamic user is %d, %v", uid, err)
		}
		configure(t, strings.Replace(shell, "max-connections = 20", "max-connections = 2", 1)+fmt.Sprintf("user-pool = \"%d-%d\"\n", uid-1, uid))
		startService(t, "box.conf")
		c := dialShell(t)
		if got := c.ask(t, "id -u"); got != strconv.Itoa(uid-1) {
			t.Errorf("the connection's user is %s, the service's %d", got, uid)
		}
		refused := dial(t)
		if n, err := refused.Read(make([]byte, 1)); err == nil {
			t.Errorf("a second connection has a user: %d bytes", n)
		}
		stop()
		if got := dialShell(t).ask(t, "id -u"); got != strconv.Itoa(uid) {
			t.Errorf("after the end of the service the user is %s, not %d", got, uid)
		}
	})
}
