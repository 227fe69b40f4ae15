package listen

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// stored opens listeners, and closes them as a master does that has stored them
// with a service manager. It returns the manager's descriptors.
func stored(t *testing.T, address string, o Options) []int {
	t.Helper()
	a, err := config.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := Open(a, o)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, l := range listeners {
		if err := l.Descriptor(func(fd int) error {
			dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
			fds = append(fds, dup)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if err := l.CloseStored(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	})
	return fds
}

// A stored socket is reused only if Open would make the same one now.
func TestReuseStored(t *testing.T) {
	dir := t.TempDir()
	device, shared, free, six := Defaults(), Defaults(), Defaults(), Defaults()
	device.BindToDevice, shared.ReusePort, free.FreeBind, six.V6Only = "lo", true, true, false
	for name, test := range map[string]struct {
		stored, wanted string
		with, by       Options
		err            string
	}{
		"same":                  {"127.0.0.1:0", "127.0.0.1:0", Defaults(), Defaults(), ""},
		"any port, six":         {"[::1]:0", "[::1]:0", Defaults(), Defaults(), ""},
		"every address":         {":0", ":0", Defaults(), Defaults(), ""},
		"every address, six":    {"[::]:0", "[::]:0", Defaults(), Defaults(), ""},
		"shared with itself":    {"127.0.0.1:0", "127.0.0.1:0", shared, shared, ""},
		"unix":                  {"unix:" + dir + "/a", "unix:" + dir + "/a", Defaults(), Defaults(), ""},
		"abstract":              {"unix:@" + dir + "/a", "unix:@" + dir + "/a", Defaults(), Defaults(), ""},
		"another address":       {"127.0.0.1:0", "127.0.0.2:0", Defaults(), Defaults(), "bound to other addresses"},
		"another port":          {"127.0.0.1:0", "127.0.0.1:1", Defaults(), Defaults(), "bound to other addresses"},
		"another path":          {"unix:" + dir + "/b", "unix:" + dir + "/c", Defaults(), Defaults(), "bound to other addresses"},
		"unix for TCP":          {"unix:@" + dir + "/d", "127.0.0.1:0", Defaults(), Defaults(), "bound to other addresses"},
		"six alone for both":    {"[::]:0", ":0", Defaults(), Defaults(), "other options"},
		"both for six alone":    {":0", "[::]:0", Defaults(), Defaults(), "other options"},
		"both, as was asked":    {"[::]:0", "[::]:0", six, six, ""},
		"shared now":            {"127.0.0.1:0", "127.0.0.1:0", Defaults(), shared, "other options"},
		"shared no more":        {"127.0.0.1:0", "127.0.0.1:0", shared, Defaults(), "other options"},
		"bound to a device now": {"127.0.0.1:0", "127.0.0.1:0", Defaults(), device, "other options"},
		"anywhere now":          {"127.0.0.1:0", "127.0.0.1:0", Defaults(), free, "other options"},
	} {
		t.Run(name, func(t *testing.T) {
			fds := stored(t, test.stored, test.with)
			wanted, err := config.ParseAddress(test.wanted)
			if err != nil {
				t.Fatal(err)
			}
			listeners, err := reuseStored(wanted, test.by, fds)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || len(listeners) > 0 {
					t.Fatalf("%d listeners, error %v, want %s", len(listeners), err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range listeners {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The file of a stored socket stays as long as another process has the socket,
// and no longer.
func TestCloseStoredUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fds := stored(t, "unix:"+path, Defaults())
	conn, err := net.Dial("unix", path) // waits in the queue
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	a, err := config.ParseAddress("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := reuseStored(a, Defaults(), fds)
	if err != nil {
		t.Fatal(err)
	}
	got, err := await(listeners[0], &slots{free: 1})
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(got.FD)
	unix.Close(fds[0])
	fds[0] = -1
	if err := listeners[0].CloseStored(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the file is left: %v", err)
	}
}

// The queue of a socket unit keeps its length, and its socket stays open.
func TestAdopt(t *testing.T) {
	fd := stored(t, "127.0.0.1:0", Options{Backlog: 7, Mode: -1})[0]
	for _, test := range []struct{ backlog, want int }{{0, 7}, {9, 9}} {
		o := Defaults()
		o.Backlog = test.backlog
		if err := Check(fd); err != nil {
			t.Fatal(err)
		}
		l, err := Adopt(fd, o)
		if err != nil {
			t.Fatal(err)
		}
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			t.Fatal(err)
		}
		if int(info.Sacked) != test.want {
			t.Errorf("backlog %d, want %d", info.Sacked, test.want)
		}
		if keepalive, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE); err != nil || keepalive == 0 {
			t.Errorf("keepalive %d, %v", keepalive, err)
		}
		local := l.Local()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		conn, err := net.Dial("tcp", local)
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
}

// The file at the path of a stored socket may belong to another server by now.
// It is not removed.
func TestReuseStoredWithoutItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fds := stored(t, "unix:"+path, Defaults())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	a, err := config.ParseAddress("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	o := Defaults()
	o.Mode = 0o600
	listeners, err := reuseStored(a, o, fds)
	CloseAll(listeners)
	if err == nil || !strings.HasSuffix(err.Error(), ": it is another socket's") {
		t.Errorf("error %v", err)
	}
	after, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if after.Mode() != before.Mode() {
		t.Errorf("mode %v, was %v", after.Mode(), before.Mode())
	}
}

// reuseStored resolves an address and calls ReuseStored.
func reuseStored(a config.Address, o Options, fds []int) ([]*Listener, error) {
	resolved, err := Resolve(a)
	if err != nil {
		return nil, err
	}
	return ReuseStored(a, resolved, o, fds)
}
