package machinetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// programs are what building and booting a machine takes, each with its package of
// Debian. `make machine-test` installs them.
var programs = []struct{ name, pkg string }{
	{"debootstrap", "debootstrap"},
	{"qemu-system-x86_64", "qemu-system-x86"},
	{"mke2fs", "e2fsprogs"},
	{"unshare", "util-linux"},
	{"make", "make"},
}

// missing returns an error of one line when this process cannot boot a machine.
func missing() error {
	if runtime.GOARCH != "amd64" {
		return errors.New("the machine for tests is one of amd64, and runs programs of that only")
	}
	if os.Geteuid() != 0 {
		return errors.New("building a machine for tests needs root")
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p.name); err != nil {
			return fmt.Errorf("a machine for tests needs the program %s (Debian package %s)", p.name, p.pkg)
		}
	}
	return nil
}
