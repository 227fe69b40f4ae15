package server

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
)

// boxes are the servers that isolate what they start: preforkd with its presets,
// and what people use to have a box for each connection. All of them are told to
// give what the preset strict gives, as far as they have it.
var boxes = []Definition{
	{
		Name: "preforkd-entry", Class: Exec, Boxed: true,
		About:   "preforkd-stdio, a box of no-new-privileges alone: what it costs to have one",
		Command: boxed([]string{"--box-no-new-privileges=true"}, Site.EchoPath), StartsEcho: true,
	},
	{
		Name: "preforkd-basic", Class: Exec, Boxed: true,
		About:   "preforkd-stdio, box preset basic",
		Command: boxed([]string{"--box-preset", "basic"}, Site.EchoPath), StartsEcho: true,
	},
	{
		Name: "preforkd-strict", Class: Exec, Boxed: true,
		About:   "preforkd-stdio, box preset strict",
		Command: boxed(strict, Site.EchoPath), StartsEcho: true,
	},
	{
		Name: "preforkd-strict-tmp", Class: Exec, Boxed: true,
		About:   "the same, the echo leaves a file in /tmp each time",
		Command: boxed(strict, Site.tmpEchoPath), StartsEcho: true,
	},
	{
		Name: "preforkd-spares-none", Class: Spare, Boxed: true,
		About:   "preforkd's built-in echo, 16 spares, without a box",
		Command: preforkd([]string{"--spares", "16", "--box-preset", "none"}, "echo"),
	},
	{
		Name: "preforkd-spares-strict", Class: Spare, Boxed: true,
		About:   "the same, box preset strict",
		Command: preforkd(slices.Concat(strict, []string{"--spares", "16"}), "echo"),
	},
	{
		Name: "nsjail", Class: Exec, Boxed: true,
		About:      "nsjail -Ml: all namespaces, a tmpfs at /tmp, a filter of system calls",
		Origin:     "google/nsjail; Debian 12 has no package of it",
		Program:    "nsjail",
		StartsEcho: true,
		Command: withVisibleEcho(func(s Site, echo string) ([]string, error) {
			return []string{s.Program, "--mode", "l", "--port", strconv.Itoa(s.Port), "--bindhost", "127.0.0.1", "--really_quiet",
				"--user", strconv.Itoa(firstUser), "--group", strconv.Itoa(firstUser), "--chroot", "/", "--tmpfsmount", "/tmp", "--tmpfsmount", "/var/tmp", "--tmpfsmount", "/home", "--tmpfsmount", "/root",
				"--iface_no_lo", "--rlimit_nofile", "256", "--rlimit_core", "0", "--nice_level", "0",
				"--seccomp_string", nsjailFilter, "--", echo}, nil
		}),
	},
	{
		Name: "bwrap", Class: Exec, Boxed: true,
		About:   "bubblewrap under tcpserver: all namespaces, a tmpfs at /tmp; it has no filter of system calls of its own",
		Package: "bubblewrap", Program: "bwrap",
		StartsEcho: true,
		Command: withVisibleEcho(func(s Site, echo string) ([]string, error) {
			tcpserver, err := lookPath("tcpserver")
			if err != nil {
				return nil, fmt.Errorf("tcpserver is not installed (Debian package ucspi-tcp)")
			}
			return []string{tcpserver, "-H", "-R", "-l", "localhost", "-c", strconv.Itoa(maxConnections), "-b", strconv.Itoa(Backlog),
				"127.0.0.1", strconv.Itoa(s.Port),
				s.Program, "--unshare-all", "--new-session", "--die-with-parent", "--cap-drop", "ALL", "--uid", strconv.Itoa(firstUser), "--gid", strconv.Itoa(firstUser),
				"--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp", "--tmpfs", "/home", "--tmpfs", "/root",
				"--", echo}, nil
		}),
	},
}

// nsjailFilter is the preset basic in the language of nsjail's filters (Kafel).
// It has no names for sets of system calls.
const nsjailFilter = `ERRNO(1) { clock_adjtime, clock_settime, settimeofday, adjtimex, ptrace, process_vm_readv, process_vm_writev, perf_event_open,
 init_module, finit_module, delete_module, mount, umount2, pivot_root, chroot, iopl, ioperm, reboot, kexec_load, swapon, swapoff,
 add_key, keyctl, request_key, bpf, userfaultfd } DEFAULT ALLOW`

// boxConnections is how many connections a strict box serves at once, above every
// load. Each has a user of its own out of a pool that no account has.
const boxConnections = 4096

// strict are the flags of preforkd for its preset strict.
var strict = []string{"--box-preset", "strict", "--max-connections", strconv.Itoa(boxConnections),
	"--box-user-pool", fmt.Sprintf("%d-%d", firstUser, lastUser)}

// The users that systemd gives to services with DynamicUser=.
const (
	firstUser = 61184
	lastUser  = 65519
)

// boxed completes a command line of preforkd serve that starts a program in a box.
func boxed(flags []string, program func(Site) (string, error)) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		path, err := program(s)
		if err != nil {
			return nil, err
		}
		if path, err = s.Build.visible(path); err != nil {
			return nil, err
		}
		return preforkd(flags, "--", path)(s)
	}
}

// withVisibleEcho completes a command that starts the static C echo in a box.
func withVisibleEcho(command func(s Site, echo string) ([]string, error)) func(Site) ([]string, error) {
	return func(s Site) ([]string, error) {
		echo, err := s.EchoPath()
		if err != nil {
			return nil, err
		}
		if echo, err = s.Build.visible(echo); err != nil {
			return nil, err
		}
		return command(s, echo)
	}
}

// tmpEchoPath returns the path of the C echo that leaves a file in /tmp.
func (s Site) tmpEchoPath() (string, error) { return s.Build.tmpEcho(s.Echo) }

// visibleParent is a directory that no box hides: /tmp, /home and /run are of each
// connection's own, or empty.
const visibleParent = "/var/lib"

// visible returns a copy of a program that a process in a box can execute. Close
// removes it.
func (b *Build) visible(program string) (string, error) {
	if b.outside == "" {
		dir, err := os.MkdirTemp(visibleParent, "preforkd-bench-")
		if err != nil {
			return "", fmt.Errorf("make a directory that is seen in boxes: %w", err)
		}
		b.outside = dir
		if err := os.Chmod(dir, 0o755); err != nil {
			return "", fmt.Errorf("make a directory that is seen in boxes: %w", err)
		}
	}
	path := filepath.Join(b.outside, filepath.Base(program))
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := copyProgram(path, program); err != nil {
		return "", fmt.Errorf("copy a program to where it is seen in boxes: %w", err)
	}
	return path, nil
}

func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Close()
}

// Close removes what was built outside of the directory of Compile.
func (b *Build) Close() error {
	if b.outside == "" {
		return nil
	}
	return os.RemoveAll(b.outside)
}
