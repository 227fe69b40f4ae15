package master

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/service/servicetest"
)

// A service that nobody uses takes at most so many bytes of the heap. The system gives
// a master somewhat more: the goal is 8 KiB for each service.
const mostOfIdleService = 6 << 10

// What is kept of a service is little: there may be ten thousand.
func TestServicesTakeLittle(t *testing.T) {
	st := newStage(t, spareKeys)
	defer st.end()
	const services = 2000
	var text strings.Builder
	for i := range services {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = ['unix:@preforkd-test-%d-many-%d']\nprogram = ['/bin/cat']\n", i, os.Getpid(), i)
	}
	before := heap()
	st.installAccepting(text.String())
	st.logs.TakeAll() // a log that is kept for the test
	if each := (heap() - before) / services; each > mostOfIdleService {
		t.Errorf("%d bytes for each service, at most %d are meant", each, mostOfIdleService)
	} else {
		t.Logf("%d bytes for each service", each)
	}
	if n := len(st.endpoints.All()); n != services {
		t.Errorf("%d listeners", n)
	}
}

// installAccepting installs a configuration, and accepts from its listeners.
func (st *stage) installAccepting(text string) {
	st.t.Helper()
	cfg := servicetest.Config(st.t, text)
	cfg.Control = config.ControlNone
	c, err := st.services.compile(&cfg, nil)
	if err != nil {
		st.t.Fatal(err)
	}
	ch, err := st.Master.install(c)
	if err != nil {
		st.t.Fatal(err)
	}
	st.serveChange(ch)
}

// heap returns how many bytes of the heap are in use.
func heap() int64 {
	var m runtime.MemStats
	for range 2 { // the first collection ends what has a finalizer
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
