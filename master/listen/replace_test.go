package listen

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/config"
)

// openBeside opens an address in the place of other listeners.
func openBeside(t *testing.T, address string, o Options, others ...*Listener) *Listener {
	t.Helper()
	a, err := config.ParseAddress(address)
	if err != nil {
		t.Fatal(err)
	}
	var raw []Controller
	for _, l := range others {
		raw = append(raw, l.Raw())
	}
	opened, err := OpenBeside(a, []config.Address{a}, o, raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { CloseAll(opened) })
	return opened[0]
}

func reusePort(t *testing.T, l *Listener) (v int) {
	t.Helper()
	if err := l.Descriptor(func(fd int) (err error) {
		v, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return v
}

// A new listener takes over from one that listens: neither lets others share the
// port, new connections come to the new one, and those that wait stay.
func TestOpenBeside(t *testing.T) {
	dual := Defaults()
	dual.V6Only = false
	for _, c := range []struct {
		old, fresh, dial string
		o                Options
	}{
		{"127.0.0.1", "", "127.0.0.1", Defaults()},
		{"127.0.0.1", "0.0.0.0", "127.0.0.1", Defaults()},
		{"127.0.0.1", "127.0.0.1", "127.0.0.1", Defaults()},
		{"127.0.0.1", "[::]", "127.0.0.1", dual},
		{"", "127.0.0.1", "127.0.0.1", Defaults()},
		{"", "[::1]", "[::1]", Defaults()},
		{"[::1]", "", "[::1]", Defaults()},
		{"[::1]", "[::1]", "[::1]", Defaults()},
	} {
		t.Run(c.old+" to "+c.fresh, func(t *testing.T) {
			old := listenAt(t, c.old+":0")
			port := fmt.Sprintf(":%d", old.AddrPort().Port())
			waiting, err := net.Dial("tcp", c.dial+port)
			if err != nil {
				t.Fatal(err)
			}
			defer waiting.Close()
			if a, err := config.ParseAddress(c.fresh + port); err != nil {
				t.Fatal(err)
			} else if _, err := Open(a, c.o); err == nil {
				t.Fatal("the address is free")
			}
			fresh := openBeside(t, c.fresh+port, c.o, old)
			if a, b := reusePort(t, old), reusePort(t, fresh); a != 0 || b != 0 {
				t.Errorf("SO_REUSEPORT is %d and %d", a, b)
			}
			if err := old.StopArrivals(); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				conn, err := net.Dial("tcp", c.dial+port)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				accepted, err := await(fresh, unlimitedSlots{})
				if err != nil {
					t.Fatal(err)
				}
				unix.Close(accepted.FD)
			}
			if !old.Waiting() || fresh.Waiting() {
				t.Errorf("connections wait at the old one: %v, at the new one: %v", old.Waiting(), fresh.Waiting())
			}
			accepted, err := await(old, unlimitedSlots{})
			if err != nil {
				t.Fatal(err)
			}
			unix.Close(accepted.FD)
			if old.Waiting() {
				t.Error("somebody still waits")
			}
		})
	}
}

type unlimitedSlots struct{}

func (unlimitedSlots) Reserve() bool { return true }
func (unlimitedSlots) Cancel()       {}

func TestCovers(t *testing.T) {
	of := func(address string, v6Only bool) *Listener {
		a, err := config.ParseAddress(address)
		if err != nil {
			t.Fatal(err)
		}
		if a.IsUnix() {
			return &Listener{path: a.Path}
		}
		l := &Listener{v6Only: v6Only, local: netip.AddrPortFrom(a.IP, a.Port)}
		l.wildcard = l.local.Addr().IsUnspecified()
		return l
	}
	for _, c := range []struct {
		a, b             string
		aOnly, bOnly     bool
		covers, overlaps bool
	}{
		{"127.0.0.1:1", "127.0.0.1:1", false, false, true, true},
		{"127.0.0.1:1", "127.0.0.1:2", false, false, false, false},
		{"127.0.0.1:1", "127.0.0.2:1", false, false, false, false},
		{"0.0.0.0:1", "127.0.0.1:1", false, false, true, true},
		{"127.0.0.1:1", "0.0.0.0:1", false, false, false, true},
		{"0.0.0.0:1", "[::1]:1", false, true, false, false},
		{"[::]:1", "127.0.0.1:1", false, false, true, true},
		{"[::]:1", "127.0.0.1:1", true, false, false, false},
		{"[::]:1", "[::1]:1", true, true, true, true},
		{"[::]:1", "[::]:1", false, true, true, true},
		{"[::]:1", "[::]:1", true, false, false, true},
		{"[::]:1", "0.0.0.0:1", false, false, true, true},
		{"[::]:1", "0.0.0.0:1", true, false, false, false},
		{"unix:/a", "unix:/a", false, false, true, true},
		{"unix:/a", "unix:/b", false, false, false, false},
		{"unix:/a", "127.0.0.1:1", false, false, false, false},
	} {
		a, b := of(c.a, c.aOnly), of(c.b, c.bOnly)
		if got := a.Covers(b); got != c.covers {
			t.Errorf("%s covers %s: %v", c.a, c.b, got)
		}
		if a.Overlaps(b) != c.overlaps || b.Overlaps(a) != c.overlaps {
			t.Errorf("%s and %s overlap: %v, %v", c.a, c.b, a.Overlaps(b), b.Overlaps(a))
		}
	}
}

// A unix socket whose file is gone or another one is lost; it is not while it is
// being closed.
func TestLostFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	l := listenAt(t, "unix:"+path)
	if err := l.Lost(); err != nil {
		t.Error(err)
	}
	if err := unix.Unlink(path); err != nil {
		t.Fatal(err)
	}
	if l.Lost() == nil {
		t.Error("a socket without a file is not lost")
	}
	fresh, err := l.Reopen(Defaults(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	defer fresh.Close()
	if l.Lost() == nil || fresh.Lost() != nil {
		t.Errorf("%v and %v", l.Lost(), fresh.Lost())
	}
	l.Close()
	if l.Lost() != nil || fresh.Lost() != nil {
		t.Errorf("%v and %v", l.Lost(), fresh.Lost())
	}
	dial(t, fresh)
}
