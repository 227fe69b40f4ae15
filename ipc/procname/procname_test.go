package procname

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func init() {
	if os.Getenv("PROCNAME_TEST_HELPER") != "" {
		Restore(os.Args)
	}
}

// TestMain prints the name in the helper process.
func TestMain(m *testing.M) {
	if os.Getenv("PROCNAME_TEST_HELPER") == "" {
		os.Exit(m.Run())
	}
	name, err := os.ReadFile("/proc/self/comm")
	fmt.Printf("%s%v", name, err)
}

// A process that is executed by a descriptor has the name of its arguments, as far as the
// kernel keeps it. One that has a name keeps that.
func TestRestore(t *testing.T) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	for _, c := range []struct{ path, argument, want string }{
		{"/proc/self/fd/3", "/usr/lib/preforkd/worker", "worker"},
		{"/proc/self/fd/3", "worker", "worker"},
		{"/proc/self/fd/3", "/bin/123", "123"},
		{"/proc/self/fd/3", "/usr/bin/a-name-that-is-too-long", "a-name-that-is-"},
		{"/proc/self/fd/3", "", ""},
		{"/proc/self/exe", "worker", "exe"},
	} {
		cmd := exec.Cmd{Path: c.path, Args: []string{c.argument}, ExtraFiles: []*os.File{self}, Env: append(os.Environ(), "PROCNAME_TEST_HELPER=1")}
		out, err := cmd.Output()
		if want := c.want + "\n<nil>"; err != nil || string(out) != want {
			t.Errorf("%+v: %q, %v", c, out, err)
		}
	}
}
