package control

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A client whose connection was detached gets the whole answer, whether the upgrade
// has failed or not.
func TestUpgradeWithDetachedClient(t *testing.T) {
	b := &fakeBackend{}
	s := serving(t, b)
	c := clientFor(t, s.Path())
	got, err := c.Upgrade(t.Context(), UpgradeRequest{Binary: "/new"})
	if err != nil || got.From != "1" || got.To != "2" || got.Workers != 3 || got.Generation != 2 || got.Dropped == nil {
		t.Errorf("%+v, %v", got, err)
	}
	_, err = c.Upgrade(t.Context(), UpgradeRequest{Config: "/wrong"})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != Failed || e.Text != "not upgraded: rehearsal: it broke" {
		t.Errorf("%v", err)
	}
	if got, err := c.Upgrade(t.Context(), UpgradeRequest{Check: true}); err != nil || !got.Check {
		t.Errorf("%+v, %v", got, err)
	}
	if n := len(b.calls); n != 3 || !strings.HasPrefix(b.calls[0], `upgrade to "/new" with "", check false by uid=`) {
		t.Errorf("%q", b.calls)
	}
}

// A detacher detaches the client that waits, keeps a descriptor of its connection as an
// exec does, and returns when the test wants that.
type detacher struct {
	fakeBackend
	kept     chan int
	answered chan struct{}
}

func (d *detacher) Upgrade(_ context.Context, _ UpgradeRequest, _ Peer, w *Waiter) (Upgraded, error) {
	first, err := w.Detach()
	if err != nil {
		return Upgraded{}, err
	}
	second, err := w.Detach()
	if err != nil || first != second {
		return Upgraded{}, errors.New("the second time it is another one")
	}
	kept, err := unix.FcntlInt(uintptr(first), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return Upgraded{}, err
	}
	d.kept <- kept
	<-d.answered
	return Upgraded{}, nil
}

// The program that takes over answers the client of the one before.
func TestAnswerUpgrade(t *testing.T) {
	for _, failed := range []error{nil, NotUpgraded("serve", errors.New("too slow"))} {
		d := &detacher{kept: make(chan int, 1), answered: make(chan struct{})}
		s := serving(t, d)
		type outcome struct {
			Upgraded
			error
		}
		answered := make(chan outcome, 1)
		c := clientFor(t, s.Path())
		go func() {
			u, err := c.Upgrade(t.Context(), UpgradeRequest{})
			answered <- outcome{u, err}
		}()
		if err := AnswerUpgrade(<-d.kept, Upgraded{From: "1", To: "2", Workers: 7, Dropped: []string{"x"}}, failed); err != nil {
			t.Error(err)
		}
		switch got := <-answered; {
		case failed == nil && (got.error != nil || got.Workers != 7 || got.To != "2" || len(got.Dropped) != 1):
			t.Errorf("%+v", got)
		case failed != nil && (got.error == nil || got.Error() != "not upgraded: serve: too slow"):
			t.Errorf("%+v", got)
		}
		close(d.answered)
	}
}

// The answer of the program that takes over is one that every client of HTTP
// understands, and the end of the connection.
func TestAnswerUpgradeIsHTTP(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	if err := unix.SetNonblock(pair[1], false); err != nil {
		t.Fatal(err)
	}
	if err := AnswerUpgrade(pair[0], Upgraded{To: "2"}, nil); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := io.Copy(&text, readerOf(pair[1])); err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(text.String(), "\r\n\r\n")
	if !strings.HasPrefix(head, "HTTP/1.1 200 OK\r\n") || !strings.Contains(head, "\r\nConnection: close") || !strings.Contains(body, `"to":"2"`) || !strings.Contains(body, `"dropped":[]`) {
		t.Errorf("%q", text.String())
	}
}

// readerOf reads from a descriptor to its end.
type readerOf int

func (fd readerOf) Read(b []byte) (int, error) {
	n, err := unix.Read(int(fd), b)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

// What is no socket any more is an error and no panic.
func TestAnswerUpgradeToNobody(t *testing.T) {
	if err := AnswerUpgrade(-1, Upgraded{}, nil); err == nil {
		t.Error("nobody was answered")
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := AnswerUpgrade(null, Upgraded{}, nil); err == nil {
		t.Error("a device was answered")
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(pair[1])
	if err := AnswerUpgrade(pair[0], Upgraded{}, nil); err == nil {
		t.Error("a client that has gone was answered")
	}
}

// A master that dies in the middle has not answered, and the client says so.
func TestUpgradeWithoutAnswer(t *testing.T) {
	s := serving(t, &leaver{})
	c := clientFor(t, s.Path())
	if _, err := c.Upgrade(t.Context(), UpgradeRequest{}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("%v", err)
	}
}

// A leaver shuts down the connection of the client that waits, as the end of a process
// does.
type leaver struct{ fakeBackend }

func (l *leaver) Upgrade(_ context.Context, _ UpgradeRequest, _ Peer, w *Waiter) (Upgraded, error) {
	fd, err := w.Detach()
	if err == nil {
		err = unix.Shutdown(fd, unix.SHUT_RDWR)
	}
	return Upgraded{}, err
}

// A connection that cannot be taken from the server is answered by it.
func TestDetachWhatCannotBe(t *testing.T) {
	w := &Waiter{w: notHijackable{}}
	if fd, err := w.Detach(); err == nil || fd != -1 {
		t.Errorf("%d, %v", fd, err)
	}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	w = &Waiter{detached: a}
	if fd, err := w.Detach(); err == nil || fd != -1 {
		t.Errorf("%d, %v", fd, err)
	}
}

type notHijackable struct{ http.ResponseWriter }
