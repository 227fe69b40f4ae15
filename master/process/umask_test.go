package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUmask(t *testing.T) {
	own := unix.Umask(0)
	unix.Umask(own)
	for _, bits := range []uint32{0o077, 0o002, 0o077} {
		u, err := NewUmask(bits)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			var out strings.Builder
			cmd := exec.Command("sh", "-c", "umask")
			cmd.Stdout = &out
			if err := u.run(cmd.Start); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.TrimSpace(out.String()), map[uint32]string{0o077: "0077", 0o002: "0002"}[bits]; got != want {
				t.Errorf("umask %s, want %s", got, want)
			}
		}
	}
	if now := unix.Umask(own); now != own {
		t.Errorf("this process has umask %03o, had %03o", now, own)
	}
	if u, err := NewUmask(0o777); err != nil || u.run(func() error { return os.ErrClosed }) != os.ErrClosed {
		t.Errorf("%v", err)
	}
}
