package main

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// What a master may do beyond its user's rights, its workers may not, with and
// without a umask of their own, which is set on other threads.
func TestAmbientCapabilities(t *testing.T) {
	t.Parallel()
	systest.NeedRoot(t)
	for name, umask := range map[string][]string{"plain": nil, "umask": {"--umask", "027"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := systest.Options{
				Args: append(umask, program("/bin/grep", "^Cap", "/proc/self/status")...),
				Attr: &syscall.SysProcAttr{
					Credential:  &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true},
					AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_SETUID},
				},
			}.Start(t)
			got := m.Dial(t).ExpectEnd(t)
			for _, set := range []string{"CapPrm", "CapEff", "CapAmb"} {
				if !strings.Contains(got, set+":\t0000000000000000\n") {
					t.Errorf("the worker has rights of the master's:\n%s", got)
					break
				}
			}
		})
	}
}
