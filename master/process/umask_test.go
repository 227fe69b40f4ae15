package process

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestUmask(t *testing.T) {
	own := unix.Umask(0)
	unix.Umask(own)
	for _, bits := range []uint32{0o077, 0o002, 0o077} {
		u, err := NewUmask(bits)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			var out strings.Builder
			cmd := exec.Command("sh", "-c", "umask")
			cmd.Stdout = &out
			if err := u.run(cmd.Start); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
			if got, want := strings.TrimSpace(out.String()), map[uint32]string{0o077: "0077", 0o002: "0002"}[bits]; got != want {
				t.Errorf("umask %s, want %s", got, want)
			}
		}
	}
	if now := unix.Umask(own); now != own {
		t.Errorf("this process has umask %03o, had %03o", now, own)
	}
	if u, err := NewUmask(0o777); err != nil || u.run(func() error { return os.ErrClosed }) != os.ErrClosed {
		t.Errorf("%v", err)
	}
}

// More starts than there are threads wait for a thread, and each has the umask.
func TestUmaskWhenAllThreadsAreBusy(t *testing.T) {
	const bits, n = 0o027, 2
	u, err := newUmask(n, func() error { return setUmask(bits) })
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	var mu sync.Mutex
	threads := map[int]bool{}
	for range 20 * n {
		done.Go(func() {
			_ = u.run(func() error {
				mu.Lock()
				threads[unix.Gettid()] = true
				mu.Unlock()
				if got := unix.Umask(bits); got != bits {
					t.Errorf("umask %03o, want %03o", got, bits)
				}
				return nil
			})
		})
	}
	done.Wait()
	if len(threads) > n {
		t.Errorf("%d threads, want %d at most", len(threads), n)
	}
}

// When one thread cannot get a umask of its own, the threads before it end.
func TestUmaskFails(t *testing.T) {
	var threads []int
	errRefused := errors.New("refused")
	u, err := newUmask(3, func() error {
		threads = append(threads, unix.Gettid())
		if len(threads) == 3 {
			return errRefused
		}
		return setUmask(0o077) // so that the thread cannot be used for anything else
	})
	if u != nil || err != errRefused {
		t.Fatalf("%v, %v", u, err)
	}
	deadline := time.Now().Add(time.Minute)
	for _, id := range threads {
		for {
			if _, err := os.Stat("/proc/self/task/" + strconv.Itoa(id)); err != nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("thread %d has not ended", id)
			}
			time.Sleep(time.Millisecond)
		}
	}
}
