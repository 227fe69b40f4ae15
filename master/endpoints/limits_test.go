package endpoints

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/service"
)

// manyText configures services with an address each.
func manyText(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['unix:@preforkd-test-%d-limits-%d']\nprogram = ['/bin/cat']\n", i, os.Getpid(), i)
	}
	return text.String()
}

// More listeners than the user may wait for are an error that names the limit, and
// nothing is opened. Present ones count, and so do those that are to be closed.
func TestTooManyListenersToWatch(t *testing.T) {
	s, _ := newSet(t, false)
	s.watches = func() (int, bool) { return 150, true }
	many := manyText(151)
	want := "bind: fs.epoll.max_user_watches is 150, and 151 listening sockets need one each (sysctl)"
	if _, err := s.Plan(specs(t, many)); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	commit(t, s, specs(t, manyText(150)))
	if _, err := s.Plan(specs(t, many)); err == nil || err.Error() != want {
		t.Errorf("%v", err)
	}
	if _, err := s.Plan(specs(t, strings.ReplaceAll(manyText(1), "limits", "others"))); err == nil || err.Error() != want {
		t.Errorf("one in place of all: %v", err)
	}
	if n := len(s.All()); n != 150 {
		t.Errorf("%d listeners", n)
	}
	s.watches = func() (int, bool) { return 0, false } // the kernel does not tell
	commit(t, s, specs(t, many))
}

// What stays is not counted, planned or looked at again.
func TestPlanLeavesAlone(t *testing.T) {
	s, _ := newSet(t, false)
	all := specs(t, manyText(20))
	commit(t, s, all)
	s.watches = func() (int, bool) { t.Error("the limits were looked up"); return 0, false }
	p, closed := commit(t, s, all)
	if len(p.changed) != 0 || len(p.listeners) != 0 || len(p.Opened)+len(closed) != 0 {
		t.Errorf("%d changed, %d opened, %d closed", len(p.changed), len(p.Opened), len(closed))
	}
	// One has another Spec, one goes, and the rest moves up.
	renewed := all[7].Renew()
	p, closed = commit(t, s, slices.Concat(all[1:7], []*service.Spec{renewed}, all[8:]))
	if len(p.changed) != 1 || p.changed[0] != renewed || len(closed) != 1 || closed[0].Spec() != all[0] {
		t.Errorf("%d changed, %d closed", len(p.changed), len(closed))
	}
	if n := len(s.All()); n != 19 || s.Of("s7")[0].Spec() != renewed {
		t.Errorf("%d listeners, %v", n, s.Of("s7")[0].Spec() == renewed)
	}
}
