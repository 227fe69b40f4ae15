package mounts

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
)

// What this program is, beside the tests.
const (
	envInner  = "MOUNTS_TEST_INNER"  // the tests, in a mount namespace of their own
	envHolder = "MOUNTS_TEST_HOLDER" // the first process of a cell; the value is its mounts
	envBuild  = "MOUNTS_TEST_BUILD"  // a process that builds the template of the Config in the value
	envLook   = "MOUNTS_TEST_LOOK"   // that process lists this directory of the template
)

// The tests run in a mount namespace of their own, in which every mount is shared.
// So the mount table that they see is changed by them alone, and a mount that
// leaks out of a template is seen in it.
func TestMain(m *testing.M) {
	switch {
	case os.Getenv(envHolder) != "":
		os.Exit(holder())
	case os.Getenv(envBuild) != "":
		os.Exit(builderProcess())
	case os.Getenv(envInner) != "":
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), envInner+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil: // no right to make a namespace
		os.Exit(m.Run())
	}
}

// needMounts skips a test where there can be no mount namespace.
func needMounts(t *testing.T) {
	t.Helper()
	if os.Getenv(envInner) == "" {
		needtest.SkipAnywhere(t, "needs the right to make a mount namespace")
	}
}

// holder is the first process of a cell. It ends with its standard input.
func holder() int {
	var mounts []Mount
	err := json.Unmarshal([]byte(os.Getenv(envHolder)), &mounts)
	for _, m := range mounts {
		if err == nil {
			err = os.NewSyscallError("mount "+m.Target, unix.Mount(m.Source, m.Target, m.Type, m.Flags, m.Data))
		}
	}
	if err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("ready")
	io.Copy(io.Discard, os.Stdin)
	return 0
}

// builderProcess prints "built" or the error of Build.
func builderProcess() int {
	var c Config
	if err := json.Unmarshal([]byte(os.Getenv(envBuild)), &c); err != nil {
		fmt.Println(err)
		return 1
	}
	template, err := Build(c)
	if err != nil {
		var missing *MissingError
		fmt.Printf("missing=%v %v\n", errors.As(err, &missing), err)
		return 1
	}
	defer template.Close()
	if dir := os.Getenv(envLook); dir != "" {
		err := inside(template, func() error {
			names, err := listing(dir)
			fmt.Println(names)
			return err
		})
		if err != nil {
			fmt.Println(err)
			return 1
		}
	}
	fmt.Println("built")
	return 0
}

// listing returns the names in a directory.
func listing(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return strings.Join(names, " "), err
}

func build(t *testing.T, c Config) *Template {
	t.Helper()
	needMounts(t)
	table := mountTable(t)
	if errs := Check(c); errs != nil {
		t.Fatalf("Check: %v", errs)
	}
	template, err := Build(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		template.Close()
		if now := mountTable(t); now != table {
			t.Errorf("the machine's mounts were\n%s\nand are\n%s", table, now)
		}
	})
	return template
}

func mountTable(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(table)
}

// inside runs f on a thread that has entered the template. What f starts is in the
// template, too.
func inside(template *Template, f func() error) error {
	return boxtest.Inside(template.FD(), unix.CLONE_NEWNS, f)
}

// nobody is a user without any rights.
const nobody = 61184

// run runs a script of sh in the template, without a cell, and returns its output.
// A script that fails adds its errors and its status to that.
func run(t *testing.T, template *Template, uid uint32, script string) string {
	t.Helper()
	var out string
	err := inside(template, func() error {
		cmd := exec.Command("/bin/sh", "-c", script)
		cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out = output(cmd)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func output(cmd *exec.Cmd) string {
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		text = strings.TrimSpace(text + " [" + err.Error() + "]")
	}
	return text
}

// A script is run in a box, and its output must be, or contain, or not contain,
// something.
type scriptTest struct {
	name, script string
	want         string // "~TEXT" stands for any output with TEXT
}

func (s scriptTest) check(t *testing.T, got string) {
	t.Helper()
	text, part := strings.CutPrefix(s.want, "~")
	if got != s.want && !(part && strings.Contains(got, text)) {
		t.Errorf("%s: %s\ngives %q\nwant  %q", s.name, s.script, got, s.want)
	}
}

// A testCell is the first process of a cell.
type testCell struct {
	pid   int
	stdin io.Closer
}

// startCell starts a cell. The program is the path in the box of this one.
func startCell(t testing.TB, template *Template, program string) *testCell {
	t.Helper()
	mounts, err := json.Marshal(template.CellMounts())
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	cmd.Env = []string{envHolder + "=" + string(mounts)}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := inside(template, cmd.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); cmd.Wait() })
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the cell's first process: %q, %v", line, err)
	}
	return &testCell{pid: cmd.Process.Pid, stdin: stdin}
}

// run runs a script of sh as a process of the cell.
func (c *testCell) run(t *testing.T, uid int, script string) string {
	t.Helper()
	nsenter := needtest.Program(t, "nsenter")
	id := strconv.Itoa(uid)
	cmd := exec.Command(nsenter, "-t", strconv.Itoa(c.pid), "-m", "-p", "-S", id, "-G", id, "--", "/bin/sh", "-c", script)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	return output(cmd)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func makeDirs(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.MkdirAll(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
