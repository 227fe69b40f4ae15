package listen

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/config"
)

// over returns a listener that has what another one had, with duplicates of its
// descriptors.
func over(t *testing.T, l *Listener) *Listener {
	t.Helper()
	st, err := l.Export(carry.NewDescriptors())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	var decoded ListenerState
	if err := json.Unmarshal(text, &decoded); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	for _, fd := range []*carry.FD{&decoded.FD, &decoded.Directory} {
		if *fd == carry.None {
			continue
		}
		dup, err := unix.FcntlInt(uintptr(*fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			t.Fatal(err)
		}
		*fd = d.Keep(dup)
	}
	l.DropCopy()
	next, err := RestoreListener(&decoded, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { next.Close() })
	again, err := next.Export(carry.NewDescriptors())
	if err != nil || !reflect.DeepEqual(again, decoded) {
		t.Errorf("%+v, %v; want %+v", again, err, decoded)
	}
	return next
}

// A listener that was handed over is at the same address, and accepts. A unix socket's file
// ends with it.
func TestListenerGoesOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	for _, address := range []string{"127.0.0.1:0", "[::1]:0", ":0", "unix:" + path, "unix:@" + path} {
		at, err := config.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := Open(at, Defaults())
		if err != nil {
			t.Fatal(err)
		}
		l := opened[0]
		next := over(t, l)
		if next.Local() != l.Local() || next.wildcard != l.wildcard || next.v6Only != l.v6Only || next.Lost() != nil {
			t.Errorf("%s has become %s, lost %v", l.Local(), next.Local(), next.Lost())
		}
		network, to := "unix", l.path
		if l.path == "" {
			network, to = "tcp", l.Local()
		}
		client, err := net.Dial(network, to)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := next.Accept(unlimited{})
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(conn.FD)
		client.Close()
		if err := next.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("the file of %s is left", next.Local())
		}
		l.Close()
	}
}

// unlimited are Slots without an end.
type unlimited struct{}

func (unlimited) Reserve() bool { return true }
func (unlimited) Cancel()       {}

// The socket of one in an attic has a copy for as long as it is handed over.
func TestAtticGoesOver(t *testing.T) {
	at, err := config.ParseAddress("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	opened, err := Open(at, Defaults())
	if err != nil {
		t.Fatal(err)
	}
	l := opened[0]
	attic, err := OpenAttic()
	if err != nil {
		t.Fatal(err)
	}
	defer attic.Close()
	defer l.Close()
	if err := attic.Store(opened); err != nil {
		t.Fatal(err)
	}
	next := over(t, l)
	if l.descriptor.copied != 0 {
		t.Error("its copy is still there")
	}
	client, err := net.Dial("tcp", l.Local())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := next.Accept(unlimited{})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(conn.FD)
}
