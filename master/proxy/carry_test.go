package proxy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A header of which a part has come in one reader comes to its end in another one,
// wherever the cut is.
func TestReaderGoesOver(t *testing.T) {
	v1 := []byte("PROXY TCP4 198.51.100.7 192.0.2.1 4711 80\r\n")
	v2 := append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 198, 51, 100, 7, 192, 0, 2, 1, 0x12, 0x67, 0, 80)
	for _, header := range [][]byte{v1, v2} {
		for cut := range len(header) + 1 {
			if err := goOver(header, cut); err != nil {
				t.Errorf("%q after %d bytes: %v", header, cut, err)
			}
		}
	}
}

func goOver(header []byte, cut int) error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	budget := NewBudget(0)
	deadline := time.Now().Add(time.Hour)
	first, err := NewReader(fds[0], budget)
	if err != nil {
		return err
	}
	if _, err := unix.Write(fds[1], header[:cut]); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { _, err := first.Read(deadline); done <- err }()
	first.Pause()
	if err := <-done; err != nil && err != ErrPaused {
		return err
	}
	s := first.Export()
	if err := s.Check(); err != nil {
		return err
	}
	if err := first.Close(); err != nil {
		return err
	}
	second, err := NewReader(fds[0], budget)
	if err != nil {
		return err
	}
	defer second.Close()
	if err := second.Restore(&s); err != nil {
		return err
	}
	if _, err := unix.Write(fds[1], header[cut:]); err != nil {
		return err
	}
	h, err := second.Read(deadline)
	if err == nil && h.Peer.String() != "198.51.100.7:4711" {
		err = fmt.Errorf("it is of %s", h.Peer)
	}
	return err
}

func TestCheckOfReaderState(t *testing.T) {
	for _, s := range []ReaderState{{Length: -1}, {Length: MaxHeader + 1}, {Length: 2, Taken: []byte("abc"), Seen: 3}, {Taken: []byte("a"), Seen: 1}, {Seen: -1}} {
		if s.Check() == nil {
			t.Errorf("%+v is accepted", s)
		}
	}
	r := Reader{budget: NewBudget(10)}
	if err := r.Restore(&ReaderState{Length: MaxHeader, Taken: make([]byte, freeBuffer+11), Seen: freeBuffer + 11}); !errors.Is(err, ErrNoMemory) {
		t.Errorf("%v, want that there is no memory", err)
	}
}
