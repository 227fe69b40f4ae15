package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// standIns are programs in place of Debian's: gcc is installed, xinetd and half
// are not, gone is not to be had, and xinetd brings a service. Each call goes into a file.
var standIns = map[string]string{
	"id": `echo "${USER_ID:-0}"`,
	"apt-get": `echo "apt-get $*" >>"$CALLS"
case "$*" in
*--assume-no*) echo "Need to get 120 kB of archives."; echo Abort.; exit 1 ;;
*-s*) echo "Inst xinetd (1:2.3 Debian)" ;;
*-qy*) "$POLICY_RC_D" || echo "policy says $?" >>"$CALLS" ;;
esac`,
	"apt-cache":  `case "$*" in *gone*) echo "N: No packages found" >&2; exit 100 ;; esac`,
	"dpkg-query": `case "$*" in *gcc*) printf installed ;; *half*) printf config-files ;; *) exit 1 ;; esac`,
	"dpkg":       `printf '/usr/sbin/xinetd\n/lib/systemd/system/xinetd.service\n/usr/lib/systemd/system/x@.service\n'`,
	"systemctl":  `echo "systemctl $*" >>"$CALLS"; case $1 in is-enabled) echo enabled ;; esac`,
}

// install runs the script, and returns what it prints and what it has called.
func install(t *testing.T, user string, packages ...string) (out, calls string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range standIns {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	policy, called := filepath.Join(dir, "policy-rc.d"), filepath.Join(dir, "calls")
	cmd := exec.Command("../../.ci/install", packages...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CALLS="+called, "POLICY_RC_D="+policy, "USER_ID="+user)
	printed, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, printed)
	}
	if _, err := os.Stat(policy); err == nil {
		t.Error("the policy against starting services is left behind")
	}
	content, _ := os.ReadFile(called)
	return string(printed), string(content)
}

func TestInstallSaysFirstAndStartsNothing(t *testing.T) {
	out, calls := install(t, "0", "gcc", "xinetd", "half")
	if !strings.HasPrefix(out, "to be installed: xinetd half") || !strings.Contains(out, "120 kB") {
		t.Errorf("it does not say what and how much:\n%s", out)
	}
	want := `apt-get -q update
apt-get install --assume-no --no-install-recommends xinetd half
apt-get -s install --no-install-recommends xinetd half
apt-get -qy install --no-install-recommends xinetd half
policy says 101
systemctl is-enabled xinetd.service
systemctl --quiet disable xinetd.service
`
	if calls != want {
		t.Errorf("it called\n%s\nwant\n%s", calls, want)
	}
}

// What a Debian does not have keeps nothing else out.
func TestInstallLeavesOutWhatIsNotToBeHad(t *testing.T) {
	out, calls := install(t, "0", "gone", "xinetd")
	if !strings.Contains(out, "not to be had here: gone\n") || !strings.Contains(calls, "\napt-get -qy install --no-install-recommends xinetd\n") || strings.Contains(calls, "gone") {
		t.Errorf("it printed %q and called\n%s", out, calls)
	}
	if out, calls := install(t, "0", "gone"); out != "not to be had here: gone\n" || calls != "apt-get -q update\n" {
		t.Errorf("with nothing to be had it printed %q and called %q", out, calls)
	}
}

func TestInstallDoesNothingWithoutNeedOrRight(t *testing.T) {
	if out, calls := install(t, "0", "gcc"); out != "" || calls != "" {
		t.Errorf("with all installed it printed %q and called %q", out, calls)
	}
	if out, calls := install(t, "1000", "gcc", "xinetd"); out != "not installed: xinetd\n" || calls != "" {
		t.Errorf("as an ordinary user it printed %q and called %q", out, calls)
	}
}
