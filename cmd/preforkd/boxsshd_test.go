package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// withSomebody prepares what sshd needs, in a mount namespace of the master's own: an
// account with a home, which is in no file of the machine.
const withSomebody = `
mount --make-rprivate /
for file in passwd shadow group; do mount --bind "$1/$file" /etc/$file; done
mount -t tmpfs -o mode=755 home /home
mkdir -p /run
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/sshd /home/somebody/.ssh
cp "$1/key.pub" /home/somebody/.ssh/authorized_keys
chown -R 4242:4242 /home/somebody
shift
exec "$@"`

func TestBoxExampleSSHD(t *testing.T) {
	t.Parallel()
	needBoxes(t)
	ssh, keygen := systest.Need(t, "ssh"), systest.Need(t, "ssh-keygen")
	systest.Need(t, "/usr/sbin/sshd")
	dir := visibleDir(t)
	for _, key := range []string{"key", "host"} {
		command(t, "", keygen, "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key))
	}
	for file, line := range map[string]string{
		"passwd": "somebody:x:4242:4242::/home/somebody:/bin/bash\n", "group": "somebody:x:4242:\n",
		"shadow": "somebody:*:19000:0:99999:7:::\n",
	} {
		text, err := os.ReadFile("/etc/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), append(text, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "sshd_config")
	if err := os.WriteFile(config, []byte("HostKey "+filepath.Join(dir, "host")+"\nSubsystem sftp internal-sftp\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	e := boxExample{
		file: "sshd.toml", replace: []string{"/etc/ssh/sshd_config", config},
		wrap: []string{systest.Need(t, "unshare"), "-m", "/bin/sh", "-ec", withSomebody, "sh", dir},
		exceptions: []exception{
			{out: "\ndynamic-user = false", says: "Failed to set uids to 4242"},
			{out: `"setuid", "setgid"`, in: `"setgid"`, says: "setresuid"},
			{out: `"setgid", "sys_chroot"`, in: `"sys_chroot"`, says: "setgroups: Operation not permitted"},
			{out: `"sys_chroot", `, says: `chroot(`},
			{out: `"chown", "fowner"`, in: `"fowner"`, says: "chown(/dev/pts/"},
			{out: `"fowner", `, says: "chmod(/dev/pts/"},
			{out: `, "dac_override"`, says: "openpty: Permission denied"},
			{out: `"@setuid", "chroot"`, in: `"chroot"`, says: "setgroups: Operation not permitted"},
			{out: `"chroot", "chown",`, in: `"chown",`, says: `chroot(`},
			{out: `"chroot", "chown",`, in: `"chroot",`, says: "chown(/dev/pts/"},
			{out: "\nprotect-home     = false", says: "/home, which protect-home hides", refused: true},
			{out: "\n" + `read-write-paths = ["/home"]`, says: "Read-only file system"},
			{out: `"/dev/pts", `, says: "openpty: No such file or directory"},
			{out: `, "/dev/pts/ptmx:/dev/ptmx"`, says: "openpty: No such file or directory"},
		},
		tightens: map[string]string{"memory-deny-write-execute": usesExec},
	}
	e.use = func(t *testing.T, m *systest.Master) error {
		options := []string{"-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
			"-i", filepath.Join(dir, "key"), "-p", m.Listeners[0].Port(), "somebody@127.0.0.1"}
		got, err := tried(t, "", ssh, append(options, "set -e; id -un; echo words >file; cat file; (exec 9<>/dev/tcp/127.0.0.1/"+m.Listeners[0].Port()+") 2>/dev/null || echo no network")...)
		if err != nil {
			return err
		}
		if want := "somebody\nwords\nno network\n"; got != want {
			return errors.New("the command says " + got)
		}
		got, err = tried(t, "", ssh, append([]string{"-tt"}, append(options, "tty && echo answer >/dev/tty")...)...)
		if err != nil || !strings.Contains(got, "answer") {
			return errors.Join(err, errors.New("no terminal: "+got))
		}
		return nil
	}
	e.try(t)
}
