package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// withoutAdmin returns a command that executes another without CAP_SYS_ADMIN: so a
// master cannot make namespaces, as in a plain container.
func withoutAdmin(t *testing.T) []string {
	systest.NeedRoot(t)
	return []string{systest.Need(t, "setpriv"), "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin", "--"}
}

// boxedCat is a configuration of a service in a box.
func boxedCat(lines ...string) string {
	return single(append([]string{catting, "[service.one.box]"}, lines...)...)
}

// What a box asks for and the machine cannot give is one line, and nothing is
// started.
func TestMissingOfBox(t *testing.T) {
	t.Parallel()
	o := systest.Options{Wrap: withoutAdmin(t)}
	for _, c := range []struct{ flags, want string }{
		{"--box-private-network", "private-network: needs CAP_SYS_ADMIN, and no filter that forbids namespaces (unshare: operation not permitted): give it to the master ("},
		{"--box-preset=strict", "protect-system, private-tmp, private-devices, protect-home, protect-kernel, protect-proc, private-pids: needs CAP_SYS_ADMIN (unshare: operation not permitted): CapabilityBoundingSet= and "},
		{"--box-io-class=realtime", "io-class: needs CAP_SYS_ADMIN: give the master CAP_SYS_ADMIN ("},
		{"--box-capabilities=sys_admin", "capabilities: needs CAP_SYS_ADMIN: give the master CAP_SYS_ADMIN ("},
		{"--box-lock-personality", "lock-personality: needs CAP_SYS_ADMIN, or no-new-privileges: give the master CAP_SYS_ADMIN ("},
		// Other keys may be missing than the one that is.
		{"--box-private-network --box-private-ipc --box-optional=private-network", "private-ipc: needs CAP_SYS_ADMIN, "},
	} {
		args := append(append([]string{"serve", "--listen", "127.0.0.1:0"}, strings.Fields(c.flags)...), program("/bin/cat")...)
		r := o.Run(t, args...)
		if want := "preforkd: service cat: box: " + c.want; r.Code != exitFailure || !strings.HasPrefix(r.Stderr, want) || strings.Count(r.Stderr, "\n") != 1 {
			t.Errorf("%s: exit code %d, %q, want %q", c.flags, r.Code, r.Stderr, want)
		}
	}
}

// Of many services that lack something all are in the one line of a start, of a reload
// and of check, with their keys, and those that lack the same together.
func TestAllMissingOfBoxes(t *testing.T) {
	t.Parallel()
	o := systest.Options{Wrap: withoutAdmin(t)}
	const many = 1000
	services := func(keys string) string {
		var text strings.Builder
		for i := range many {
			fmt.Fprintf(&text, "[service.s%d]\nlisten = [\"127.0.0.1:0\"]\n%s\nbox.nice = %d\n%s\n", i, catting, i%10, keys)
		}
		return text.String()
	}
	const other = "[service.other]\nlisten = [\"127.0.0.1:0\"]\n" + catting + "\nbox.io-class = \"realtime\"\nbox.private-ipc = true\n"
	text := services("box.private-network = true\nbox.private-ipc = true") + other
	const all = "services s0, s1, s2, s3, s4 and 995 more: box: private-ipc, private-network: needs CAP_SYS_ADMIN, and no filter "
	const one = "io-class: needs CAP_SYS_ADMIN: give the master CAP_SYS_ADMIN (box.conf of deploy/drop-in, --cap-add of a container); private-ipc: needs CAP_SYS_ADMIN, and no filter "
	is := func(what, line, begin, then string) {
		t.Helper()
		if !strings.HasPrefix(line, begin) || !strings.Contains(line, then) || strings.Count(line, "\n") != 1 || len(line) > 2000 {
			t.Errorf("%s: %q\nlacks %q and %q", what, line, begin, then)
		}
	}
	path := filepath.Join(systest.Dir(t), "preforkd.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	r := o.Run(t, "serve", "--config", path)
	is("start", r.Stderr, "preforkd: "+all, "; service other: box: "+one)
	r = o.Run(t, "check", "--config", path, "--box", "other")
	is("check", r.Stderr, "preforkd: service other: box: "+one, "")
	if r.Code != exitFailure {
		t.Errorf("check ends with %d", r.Code)
	}
	o.Config = single(catting)
	m := o.Start(t)
	e := m.Reload(t, text)
	is("reload", e.Error+"\n", all, "; service other: box: "+one)
	m.Baseline(t)
}

// An optional key that cannot be had is left out. The log says so once for each
// service and key, and the status for as long as it is so.
func TestOptionalOfBox(t *testing.T) {
	t.Parallel()
	text := boxedCat(`preset = "basic"`, "private-network = true", "private-ipc = true", `optional = ["private-ipc", "private-network", "limit-nofile"]`)
	m := systest.Options{Config: text, Wrap: withoutAdmin(t)}.Start(t)
	incomplete := systest.Is("box incomplete")
	keys := func(n int) string {
		var keys []string
		for _, e := range m.Wait(t, n, incomplete) {
			var fields struct{ Key string }
			if err := json.Unmarshal([]byte(e.Line), &fields); err != nil || e.Service != "one" || !strings.HasPrefix(e.Error, fields.Key+": needs CAP_SYS_ADMIN") {
				t.Errorf("%v: %s", err, e.Line)
			}
			keys = append(keys, fields.Key)
		}
		return strings.Join(keys, " ")
	}
	if got := keys(2); got != "private-ipc private-network" && got != "private-network private-ipc" {
		t.Errorf("missing are %s", got)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	r := systest.Run(t, "status", "--json", "--control", m.Control)
	var s control.Status
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	b := s.Services[0].Box
	if b == nil || b.Summary != "basic, private-network on, private-ipc on, optional changed" || len(b.Missing) != 2 || !strings.HasPrefix(b.Missing[0].Reason, "needs CAP_SYS_ADMIN") {
		t.Errorf("the status has %+v", b)
	}
	if r := systest.Run(t, "status", "--control", m.Control); !strings.Contains(r.Stdout, "basic*-2") || !strings.Contains(r.Stdout, "one box lacks "+b.Missing[0].Key+", "+b.Missing[1].Key+", which needs CAP_SYS_ADMIN") {
		t.Errorf("the status is %s", r.Stdout)
	}
	// What is required is required of a reload, too. Of a key the log tells once.
	if e := m.Reload(t, text+"private-pids = true\n"); e.Msg != systest.NotReloaded || !strings.HasPrefix(e.Error, "service one: box: private-pids: needs CAP_SYS_ADMIN") {
		t.Errorf("reload: %s", e.Line)
	}
	if e := m.Reload(t, strings.Replace(text, `optional = [`, `private-pids = true`+"\n"+`optional = ["private-pids", `, 1)); e.Msg != systest.Reloaded {
		t.Errorf("reload: %s", e.Line)
	}
	if got := keys(3); !strings.HasSuffix(got, " private-pids") {
		t.Errorf("missing are %s", got)
	}
	if n := len(m.Events(incomplete)); n != 3 {
		t.Errorf("the log says %d times that a box is incomplete", n)
	}
	c.CloseWrite(t)
	c.End(t)
	// The box of the last configuration has descriptors of its own.
	systest.Until(t, "one box", func() bool {
		images := 0
		for _, fd := range systest.FDs(m.PID) {
			if strings.Contains(fd.Target, "memfd:") {
				images++
			}
		}
		return images == 1
	}, func() string { return fmt.Sprintf("%+v", systest.FDs(m.PID)) })
	m.Baseline(t)
}

// Without the limit of the user there is one thing missing of many that were asked
// for at once.
func TestOneNamespaceMissing(t *testing.T) {
	t.Parallel()
	unshare := systest.Need(t, "unshare")
	wrap := append([]string{unshare, "--user", "--map-root-user", "--mount"}, sh(`echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"`, "sh")...)
	if err := exec.Command(wrap[0], append(wrap[1:], "true")...).Run(); err != nil {
		systest.SkipAnywhere(t, "needs a user namespace with limits of its own: "+err.Error())
	}
	flags := "--box-private-network --box-private-pids --box-private-ipc --box-protect-hostname --box-optional=private-network --box-no-new-privileges"
	m := systest.Options{Args: append(strings.Fields(flags), program("/bin/cat")...), Wrap: wrap}.Start(t)
	e := m.WaitFor(t, systest.Is("box incomplete"))
	if want := "private-network: needs room for one more net namespace (unshare: no space left on device): a higher sysctl user.max_net_namespaces"; e.Error != want {
		t.Errorf("got %q, want %q", e.Error, want)
	}
	if n := len(m.Events(systest.Is("box incomplete"))); n != 1 {
		t.Errorf("%d keys are missing", n)
	}
	c := m.Dial(t)
	c.Echo(t, "hello")
	c.CloseWrite(t)
	c.ExpectEnd(t)
}
