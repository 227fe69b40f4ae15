package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCauseOf(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{&fs.PathError{Op: "fork/exec", Path: "/x", Err: unix.ENOENT}, "program-missing"},
		{&exec.Error{Name: "/x", Err: unix.EACCES}, "program-unusable"},
		{fmt.Errorf("spawn: %w", unix.EAGAIN), "out-of-processes"},
		{unix.ENOMEM, "out-of-memory"},
		{unix.EMFILE, "out-of-descriptors"},
		{unix.EIO, "other"},
		{errors.New("assignment too large"), "other"},
		{fmt.Errorf("%w", ErrStopping), "stopping"},
	} {
		if got := CauseOf(c.err).String(); got != c.want {
			t.Errorf("%v: %s, want %s", c.err, got, c.want)
		}
	}
}
