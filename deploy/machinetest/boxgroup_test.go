package machinetest

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// grouped is the box of a service with limits of three controllers.
const grouped = "memory-max = \"24M\"\nmemory-swap-max = \"0\"\ncpu-quota = \"50%\"\nio-weight = 50\n"

// TestBoxPartlyDelegated shows that the limits of a controller that is not delegated may
// be missing, where the configuration says so, and that the others hold.
func TestBoxPartlyDelegated(t *testing.T) {
	Run(t, func(t *testing.T) {
		notInShort(t)
		// In a slice with others the unit has what these have.
		write(t, ownDropIns+"/partly.conf", "[Service]\nSlice=preforkdpartly.slice\nDelegate=\nDelegate=memory\n")
		configure(t, shell+grouped+"optional = [\"cpu-quota\", \"io-weight\", \"memory-high\"]\n")
		startService(t, "box.conf")
		incomplete(t, "cpu-quota", "io-weight")
		dialShell(t).end(t, "head -c 100M /dev/zero | tail -c 100M >/dev/null")
		awaitReaped(t, 0, `"PREFORKD_LIMIT":"memory"`)

		configure(t, shell+grouped)
		notReloaded(t, "service echo: box: cpu-quota: needs a cgroup to divide (", "lacks the controllers: ", "io-weight: needs a cgroup to divide (")
		dialShell(t)
	})
}

// TestBoxNotDelegated shows the same without any delegation.
func TestBoxNotDelegated(t *testing.T) {
	Run(t, func(t *testing.T) {
		text, err := os.ReadFile(boxConf)
		if err != nil {
			t.Fatal(err)
		}
		write(t, ownDropIns+"/undelegated.conf", without(without(string(text), "Delegate=yes"), "DelegateSubgroup=master"))
		configure(t, shell+grouped+"optional = [\"memory-max\", \"memory-swap-max\", \"cpu-quota\", \"io-weight\"]\n")
		startService(t)
		incomplete(t, "cpu-quota", "io-weight", "memory-max", "memory-swap-max")
		dialShell(t)

		configure(t, shell+grouped)
		notReloaded(t, "service echo: box: memory-max, memory-swap-max, cpu-quota, io-weight: needs a cgroup to divide (", "is not delegated to preforkd", "Delegate=yes in the systemd unit")
		dialShell(t)
	})
}

// incomplete waits until the log says that the box lacks these keys, each once.
func incomplete(t *testing.T, keys ...string) {
	t.Helper()
	events := journal(t, "PREFORKD_EVENT=box incomplete")
	if n := strings.Count(events, "\n"); n != len(keys) {
		t.Errorf("%d keys are missing, want %q:\n%s", n, keys, events)
	}
	for _, key := range keys {
		if strings.Count(events, `"PREFORKD_KEY":"`+key+`"`) != 1 {
			t.Errorf("the log lacks %s:\n%s", key, events)
		}
	}
}

// notReloaded reloads the unit, which fails with one line that has some texts.
func notReloaded(t *testing.T, texts ...string) {
	t.Helper()
	if out, err := exec.Command("systemctl", "reload", unit).CombinedOutput(); err == nil {
		t.Errorf("it was reloaded: %s", out)
	}
	errors := journal(t, "PREFORKD_EVENT=not reloaded")
	if strings.Count(errors, "\n") != 1 {
		t.Errorf("it is not one line: %s", errors)
	}
	hasAll(t, errors, texts...)
}

func hasAll(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

// TestBoxWithoutDropIn shows that the unit without box.conf says which services it cannot
// box, and what would give it, and that it serves those without a box.
func TestBoxWithoutDropIn(t *testing.T) {
	Run(t, func(t *testing.T) {
		const plain = "[service.echo]\nlisten = [\"127.0.0.1:7007\"]\nprogram = [\"/bin/cat\"]\n"
		const others = "[service.first]\nlisten = [\"127.0.0.1:7008\"]\nprogram = [\"/bin/cat\"]\nbox.preset = \"strict\"\n" +
			"[service.second]\nlisten = [\"127.0.0.1:7009\"]\nprogram = [\"/bin/cat\"]\nbox.preset = \"strict\"\n"
		configure(t, plain)
		startService(t)
		dialEcho(t)
		configure(t, plain+others)
		lines := []string{"services first, second: box: ", "needs CAP_SETUID and CAP_SETGID: give them to the master (box.conf of deploy/drop-in", "CAP_SYS_ADMIN"}
		notReloaded(t, lines...)
		dialEcho(t)

		run(t, "systemctl", "stop", unit)
		if out, err := exec.Command("systemctl", "start", unit).CombinedOutput(); err == nil {
			t.Errorf("it was started: %s", out)
		}
		hasAll(t, run(t, "journalctl", "--no-pager", "--boot", "--unit="+unit, "--lines=20"), lines...)
	})
}
