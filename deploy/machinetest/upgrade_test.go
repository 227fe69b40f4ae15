package machinetest

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/control"
)

const faultFile = "/usr/local/bin/preforkd.fault"

// installTwo puts the other version in the place of both programs as dpkg(1) does, until
// the test ends.
func installTwo(t *testing.T) {
	t.Helper()
	replace := func(master, worker string) {
		t.Helper()
		for place, file := range map[string]string{"/usr/local/lib/preforkd/preforkd-worker": worker, "/usr/local/bin/preforkd": master} {
			run(t, "cp", file, place+".dpkg-new")
			run(t, "mv", place+".dpkg-new", place)
		}
	}
	replace("/opt/two/preforkd", "/opt/two/preforkd-worker")
	t.Cleanup(func() {
		run(t, "rm", "-f", faultFile)
		replace(installed+"/usr/local/bin/preforkd", installed+"/usr/local/lib/preforkd/preforkd-worker")
	})
}

// fault has what takes over from the master of now fail at a step ("serve error").
func fault(t *testing.T, fault string) {
	t.Helper()
	write(t, faultFile, fault+" "+show(t, "MainPID")+"\n")
}

// master returns what the master says of itself.
func master(t *testing.T) control.Master {
	t.Helper()
	var status control.Status
	if err := json.Unmarshal([]byte(run(t, "preforkd", "status", "--json")), &status); err != nil {
		t.Fatal(err)
	}
	return status.Master
}

// isUpgraded holds that the master is the one of a pid, and of a generation, and how many
// upgrades have failed. Nothing is waited for.
func isUpgraded(t *testing.T, pid string, generation, failed int) {
	t.Helper()
	if m := master(t); m.Generation != generation || int(m.Upgrades.Failed) != failed || (m.Version == "two") != (generation > 1) {
		t.Errorf("want generation %d and %d failures: %+v, %+v", generation, failed, m, m.Upgrades.LastFailure)
	}
	if now := show(t, "MainPID"); now != pid {
		t.Errorf("the main process was %s and is %s", pid, now)
	}
	for property, want := range map[string]string{"ActiveState": "active", "SubState": "running", "NRestarts": "0", "Result": "success", "ReloadResult": "success"} {
		if got := show(t, property); got != want {
			t.Errorf("the unit has %s=%s, want %s", property, got, want)
		}
	}
}

// TestUpgradeNotifyReload shows that systemd, where it sends the signal, waits for the
// upgrade, and no longer than that when it fails, early or late.
func TestUpgradeNotifyReload(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, strings.Split(shell, "[service.echo.box]")[0])
		write(t, ownDropIns+"/signal.conf", "[Service]\nReloadSignal=SIGUSR2\n")
		startService(t, "notify-reload.conf")
		pid := show(t, "MainPID")
		c := dialShell(t)
		installTwo(t)
		fault(t, "serve error")
		run(t, "systemctl", "reload", unit)
		isUpgraded(t, pid, 1, 1)

		const file = "/etc/preforkd/preforkd.toml"
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		write(t, file, "[service.echo]\nlisten = 7\n")
		run(t, "systemctl", "reload", unit)
		isUpgraded(t, pid, 1, 2)
		write(t, file, string(good))

		run(t, "rm", faultFile)
		run(t, "systemctl", "reload", unit)
		isUpgraded(t, pid, 2, 2)
		c.isAlive(t)
		dialShell(t)
		if events := journal(t, "PREFORKD_EVENT=not upgraded"); strings.Count(events, "\n") != 2 {
			t.Errorf("of failures the journal says %s", events)
		}
	})
}

// TestUpgradeBoxes shows that boxes go over with their limits, and that the new program
// removes their control groups.
func TestUpgradeBoxes(t *testing.T) {
	Run(t, func(t *testing.T) {
		configure(t, shell+"memory-max = \"24M\"\nmemory-swap-max = \"0\"\ntasks-max = 8\n")
		startService(t, "box.conf")
		pid, group := show(t, "MainPID"), "/sys/fs/cgroup"+show(t, "ControlGroup")
		greedy, quiet := dialShell(t), dialShell(t)
		before := leaves(t, group)
		if len(before) < 2 {
			t.Fatalf("the groups of connections are %q", before)
		}
		installTwo(t)
		fault(t, "serve error")
		if out, err := exec.Command("preforkd", "upgrade").CombinedOutput(); err == nil || !strings.Contains(string(out), "a fault at serve") {
			t.Errorf("%v, %s", err, out)
		}
		isUpgraded(t, pid, 1, 1)
		greedy.isAlive(t)
		quiet.isAlive(t)
		run(t, "rm", faultFile)
		run(t, "preforkd", "upgrade")
		isUpgraded(t, pid, 2, 1)

		quiet.isAlive(t)
		greedy.end(t, "head -c 100M /dev/zero | tail -c 100M >/dev/null")
		awaitReaped(t, 0, `"PREFORKD_LIMIT":"memory"`)
		quiet.isAlive(t)
		dialShell(t).end(t, "echo fine")
		awaitReaped(t, 1, `"PREFORKD_EXIT_CODE":"0"`)
		quiet.end(t, "echo fine")
		awaitReaped(t, 2, `"PREFORKD_EXIT_CODE":"0"`)
		waitFor(t, "no process of a box is left", func() bool { return len(pooled(t)) == 0 })
		// Groups are used again. Without the service they are no longer needed.
		configure(t, strings.Split(strings.ReplaceAll(shell, "service.echo", "service.plain"), "[service.plain.box]")[0])
		run(t, "systemctl", "reload", unit)
		waitFor(t, "the groups of the service are removed", func() bool {
			_, err := os.Stat(group + "/service-echo")
			return os.IsNotExist(err)
		})
		dialShell(t)
		run(t, "systemctl", "stop", unit)
		if _, err := os.Stat(group); !os.IsNotExist(err) {
			t.Errorf("the cgroup of the unit is left: %v", err)
		}
	})
}
