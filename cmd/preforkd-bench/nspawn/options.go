package nspawn

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Options say what a machine is made of besides the host's root.
type Options struct {
	// Trees are directories that are copied over the root, the later over the
	// earlier: what "make install DESTDIR=" has filled, for example.
	Trees []string

	// Files are further files by their absolute path, with mode 0644.
	Files map[string]string

	// HostNetwork leaves the machine in the network of this process: what
	// listens there can be reached from here, takes ports away from here, and
	// costs no more than it would here. Interfaces and addresses stay out of
	// the machine's reach. Without it, the machine has loopback and nothing
	// else, for itself.
	HostNetwork bool

	// Processes starts the programs that a machine takes on this side. A
	// process that collects children it has not started, as an init does, would
	// otherwise take the ends of these away. Nil is os/exec.
	Processes Processes

	// Log, if there is one, is given what the machine writes to its console.
	Log io.Writer
}

// Processes starts programs and waits for them.
type Processes interface {
	Start(*exec.Cmd) error
	Wait(*exec.Cmd) error
}

// osExec is nobody's interest but os/exec's.
type osExec struct{}

func (osExec) Start(cmd *exec.Cmd) error { return cmd.Start() }
func (osExec) Wait(cmd *exec.Cmd) error  { return cmd.Wait() }

// target is what the machine boots to: as little as a service needs.
const target = `[Unit]
Description=A machine to try units on
Requires=basic.target
After=basic.target
AllowIsolate=yes
`

// masked are units that are pulled in by symbolic links of packages, not of
// the administrator's. They serve hardware, which there is none of, set
// variables of the kernel, which is the host's, or take long.
var masked = []string{
	"dev-hugepages.mount",
	"getty.target",
	"kmod-static-nodes.service",
	"ldconfig.service",
	"modprobe@.service",
	"network-online.target",
	"proc-sys-fs-binfmt_misc.automount",
	"systemd-binfmt.service",
	"systemd-boot-system-token.service",
	"systemd-firstboot.service",
	"systemd-hwdb-update.service",
	"systemd-journal-catalog-update.service",
	"systemd-logind.service",
	"systemd-modules-load.service",
	"systemd-networkd.service",
	"systemd-networkd.socket",
	"systemd-pstore.service",
	"systemd-random-seed.service",
	"systemd-resolved.service",
	"systemd-sysctl.service",
	"systemd-timesyncd.service",
	"systemd-tmpfiles-clean.timer",
	"systemd-udev-trigger.service",
	"systemd-udevd-control.socket",
	"systemd-udevd-kernel.socket",
	"systemd-udevd.service",
	"systemd-update-done.service",
}

// programs are what booting a machine and entering it takes, and in which
// packages of Debian it is.
var programs = map[string]string{
	"systemd-nspawn": "systemd-container",
	"systemctl":      "systemd",
	"unshare":        "util-linux",
	"nsenter":        "util-linux",
}

// Missing returns an error of one line when this process cannot boot a machine.
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("booting a systemd needs root")
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err == nil && sets[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0 {
		return errors.New("booting a systemd needs the right to mount (CAP_SYS_ADMIN), which this root has not")
	}
	for program, pkg := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("booting a systemd needs the program %s (Debian package %s)", program, pkg)
		}
	}
	return nil
}

// write makes a tree in dir of all files: the machine's own and the caller's.
func (o Options) write(dir string) error {
	files := map[string]string{"/etc/systemd/system/default.target": target}
	for path, text := range o.Files {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s is not an absolute path", path)
		}
		files[path] = text
	}
	for path, text := range files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	// The directory lies in /tmp and is closed to others, which the root of a
	// machine must not become.
	return os.Chmod(dir, 0o755)
}

// network returns the options of nspawn that give the machine its network.
func (o Options) network() string {
	if o.HostNetwork {
		return ""
	}
	return "--private-network"
}

// maskedList is the list as the shell takes it.
func maskedList() string { return strings.Join(masked, " ") }
