package config

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// Flags of the master win over the file. What the file says otherwise is told,
// and what it does not say, or says as well, is not.
func TestFlagsWinOverTheFile(t *testing.T) {
	run := Run{Flags: map[string][]string{
		"drain-timeout": {"1s", "2s"}, "kill-delay": {"3s"}, "control": {"/a"}, "metrics": {""}, "control-owner": {"0"},
	}}
	text := worker(t) + "drain-timeout = '9s'\nkill-delay = '3s'\nmetrics = '127.0.0.1:1'\ncontrol-owner = 'no-such-user'\n" + minimal
	c, err := Parse("f", []byte(text), run)
	if err != nil {
		t.Fatal(err)
	}
	if c.DrainTimeout != 2*time.Second || c.KillDelay != 3*time.Second || c.Control != "/a" || c.Metrics != "" || c.ControlOwner != "0" {
		t.Errorf("%+v", c)
	}
	if want := []string{"control-owner", "metrics", "drain-timeout"}; !slices.Equal(c.Overridden, want) {
		t.Errorf("overridden are %v, want %v", c.Overridden, want)
	}
	if c, err = Parse("f", []byte(minimal), Run{Flags: map[string][]string{"control": {"none"}, "worker-binary": {"/bin/cat"}}}); err != nil || c.Control != ControlNone || len(c.Overridden) > 0 {
		t.Errorf("%v, %+v", err, c)
	}
}

// What is wrong with a flag names the flag; it has no place in the file. The
// mistakes of the file keep theirs.
func TestMistakenFlagsBesideAFile(t *testing.T) {
	for name, c := range map[string]struct{ value, master, want string }{
		"kind":     {"often", "", `--drain-timeout "often": must be a duration`},
		"over one": {"-1s", "drain-timeout = '1s'\n", `--drain-timeout "-1s": must not be negative`},
	} {
		_, err := Parse("f", []byte(worker(t)+c.master+minimal), Run{Flags: map[string][]string{"drain-timeout": {c.value}}})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	_, err := Parse("f", []byte(worker(t)+"control = '/good'\nkill-delay = 5\n"+minimal), Run{Flags: map[string][]string{"control": {"bad"}, "control-group": {"no-such-group"}}})
	want := `--control "bad": must be auto, none or an absolute path
--control-group "no-such-group": there is no such group
f:4:14: master: kill-delay 5: must be a string`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	_, err = Parse("f", []byte(minimal), Run{Flags: map[string][]string{"worker-binary": {"/nonexistent"}}})
	if want := `service.a: worker-binary "/nonexistent": no such file`; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v, want %s", err, want)
	}
}

// Only the master's flags may be given beside a file.
func TestFlagsOfTheMaster(t *testing.T) {
	var got []string
	for _, f := range Flags() {
		if f.Master {
			got = append(got, f.Name)
		}
	}
	var want []string
	for _, k := range masterKeys {
		want = append(want, k.name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
