package servicetest

import (
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/admit"
	"github.com/preforkd/preforkd/master/config"
	"github.com/preforkd/preforkd/master/listen"
	"github.com/preforkd/preforkd/master/redact"
	"github.com/preforkd/preforkd/master/service"
)

// workerBinary stands for the worker binary, which no test of this kind starts.
const workerBinary = "[master]\nworker-binary = '/bin/true'\n"

// null is /dev/null, as the master has it open for all its workers.
var null = sync.OnceValues(func() (*os.File, error) { return os.OpenFile(os.DevNull, os.O_RDWR, 0) })

// A Stderr is a file that is fd 2 of all workers.
type Stderr struct{ File *os.File }

// Inherit implements service.Stderr.
func (s Stderr) Inherit() (*os.File, error) { return s.File, nil }

// Discard implements service.Stderr.
func (s Stderr) Discard() (*os.File, error) { return s.File, nil }

// Config parses a configuration that has no [master] table.
func Config(t rapid.TB, text string) config.Config {
	t.Helper()
	cfg, err := config.Parse("test.toml", []byte(workerBinary+text), config.Run{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// Specs compiles a configuration.
func Specs(t rapid.TB, text string) []*service.Spec {
	t.Helper()
	cfg := Config(t, text)
	file, err := null()
	if err != nil {
		t.Fatal(err)
	}
	specs, err := service.Compile(&cfg, service.Files{Null: file, Stderr: Stderr{file}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return specs
}

// Spec compiles a configuration of one service, the keys of which are given, and
// puts it in force. The service listens nowhere that anybody knows.
func Spec(t testing.TB, keys string, log *zap.Logger) *service.Spec {
	t.Helper()
	spec := Specs(t, "[service.test]\nlisten = ['unix:@preforkd-test']\n"+keys)[0]
	s := service.New(spec.Name, spec.Policy(), log)
	s.SetOwner(spec)
	s.Install(spec, time.Now())
	return spec
}

// Connection makes an admitted connection of a service, and returns the client's
// end of it, too. Both ends are closed when the test ends.
func Connection(t testing.TB, spec *service.Spec, id string) (c *service.Connection, client int) {
	t.Helper()
	conn, client := Pair(t)
	d := spec.Owner().Gate.Admit(admit.Peer{}, time.Now(), false)
	if d.Outcome != admit.Admitted {
		t.Fatalf("connection %s is not admitted: %v", id, d.Reason)
	}
	spec.Owner().Ledger.Accepted()
	c = service.NewConnection(spec, conn, d, id, &redact.Policy{})
	t.Cleanup(func() { c.File.Close() })
	return c, client
}

// Pair returns a connection as a listener returns it, and the client's end, which
// is closed when the test ends. The caller owns the connection's descriptor.
func Pair(t testing.TB) (conn *listen.Conn, client int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return &listen.Conn{FD: fds[0], Credentials: &unix.Ucred{}}, fds[1]
}
