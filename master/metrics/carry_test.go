package metrics

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/fdtest"
	"github.com/preforkd/preforkd/ipc/slowtest"
	"github.com/preforkd/preforkd/master/carry"
)

// scrape asks for the metrics, and returns a channel that gets the outcome.
func scrape(t *testing.T, address string) <-chan error {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(slowtest.Scale(time.Minute))); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
	answered := make(chan error, 1)
	go func() {
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && answer.StatusCode != http.StatusOK {
			err = fmt.Errorf("%s", answer.Status)
		}
		conn.Close()
		answered <- err
	}()
	return answered
}

// A scraper that was accepted gets its answer, and those that come then wait until Resume.
func TestSettle(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	begun, end := make(chan struct{}, 1), make(chan struct{})
	s.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		begun <- struct{}{}
		<-end
	}))
	defer s.Close()
	first := scrape(t, s.Local())
	<-begun
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	second := scrape(t, s.Local())
	s.Settle(time.Millisecond) // in vain
	settled := make(chan struct{})
	go func() {
		defer close(settled)
		s.Settle(slowtest.Scale(time.Minute))
	}()
	select {
	case <-settled:
		t.Error("a scrape is not waited for")
	case <-begun:
		t.Error("a scraper was accepted")
	case <-time.After(20 * time.Millisecond):
	}
	close(end)
	if err := <-first; err != nil {
		t.Error(err)
	}
	<-settled
	if len(begun) > 0 {
		t.Error("a scraper was accepted")
	}
	s.Resume()
	if err := <-second; err != nil {
		t.Error(err)
	}
}

// Servers stand still and go on at any time, while clients come.
func TestPauseOftenUnderLoad(t *testing.T) {
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	var scrapes []<-chan error
	for range 100 {
		scrapes = append(scrapes, scrape(t, s.Local()))
		if err := s.Pause(); err != nil {
			t.Fatal(err)
		}
		s.Settle(slowtest.Scale(time.Minute))
		s.Resume()
	}
	for i, answered := range scrapes {
		if err := <-answered; err != nil {
			t.Errorf("scrape %d: %v", i, err)
		}
	}
}

// A server that was attached serves at the socket of the one before, and both can end.
func TestAttach(t *testing.T) {
	open := fdtest.Open(t)
	s, err := Listen("127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	d := carry.NewDescriptors()
	fd, err := s.Export(d)
	if err != nil || len(d.Numbers()) != 1 || d.Numbers()[0] != int(fd) {
		t.Fatalf("%d, %v, %v", fd, d.Numbers(), err)
	}
	local := s.Local()
	next, err := Attach(int(fd))
	if err != nil {
		t.Fatal(err)
	}
	if next.Local() != local {
		t.Errorf("it is at %s, want %s", next.Local(), local)
	}
	next.Serve(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	answered := scrape(t, local)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	select {
	case err := <-answered:
		t.Errorf("answered before Resume: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	next.Resume()
	if err := <-answered; err != nil {
		t.Error(err)
	}
	if err := next.Pause(); err != nil {
		t.Error(err)
	}
	if err := next.Close(); err != nil { // also of one that is paused
		t.Error(err)
	}
	if err := next.Pause(); err == nil {
		t.Error("what is closed was paused")
	}
	if _, err := next.Export(d); err == nil {
		t.Error("what is closed was handed over")
	}
	if now := fdtest.Open(t); now != open {
		t.Errorf("%d descriptors are open, want %d", now, open)
	}
}

// What is no TCP socket is an error.
func TestAttachToSomethingElse(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	for _, fd := range []int{-1, int(null.Fd()), pair[0]} {
		if s, err := Attach(fd); err == nil {
			t.Errorf("%d: %v", fd, s)
		}
	}
}
