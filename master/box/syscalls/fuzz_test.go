package syscalls

import (
	"strings"
	"testing"
)

// Whatever a list has, it gives a policy or one line that says what is wrong.
func FuzzExpand(f *testing.F) {
	for _, seed := range []string{"@system-service ~@privileged", "~@mount ~bpf", "opne", "~", "open:EPERM", "@", "~~open", "\x00 \xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, " ")
		p, err := Expand(list)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\r\x00") {
				t.Errorf("%q: the error is more than a line: %q", list, err)
			}
			return
		}
		for _, arch := range architectures {
			if decided := len(p.Allowed(arch)) + len(p.Denied(arch)) + len(p.Unknown(arch)); decided != len(Numbers(arch)) {
				t.Errorf("%q decides for %d calls of %s", list, decided, arch)
			}
		}
	})
}
