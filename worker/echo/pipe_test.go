package echo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// echoAll sends data through relay with the given system calls. It returns the echo and
// the outcome.
func echoAll(t *testing.T, server int, client sockettest.Client, sys calls, data []byte) ([]byte, outcome) {
	t.Helper()
	done := serve(server, ipc.Assignment{}, func(c *worker.Conn) error { return relay(c, sys) })
	send(t, client, data)
	back, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	return back, <-done
}

func TestBulkIsSpliced(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		spliced := 0
		sys := systemCalls
		sys.splice = func(from, to, n int) (int, error) {
			moved, err := systemCalls.splice(from, to, n)
			spliced += max(moved, 0)
			return moved, err
		}
		server, client := connect(t)
		data := testData(32 << 20)
		back, got := echoAll(t, server, client, sys, data)
		if !bytes.Equal(back, data) || got.err != nil {
			t.Fatalf("%d of %d bytes came back, error %v", len(back), len(data), got.err)
		}
		// Every byte is spliced in and out, except the first reads.
		if spliced < len(data) {
			t.Errorf("%d of %d bytes were spliced", spliced/2, len(data))
		}
	})
}

// Each system call fails in turn, at its first use and at later uses, on either side of
// the pipe. All bytes must come back all the same.
func TestSpliceFallsBack(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		data := testData(2<<20 + 3)
		check := func(name string, sys calls) {
			t.Run(name, func(t *testing.T) {
				server, client := connect(t)
				back, got := echoAll(t, server, client, sys, data)
				if !bytes.Equal(back, data) {
					t.Errorf("%d of %d bytes came back, or others", len(back), len(data))
				}
				if n := uint64(len(data)); got.err != nil || got.in != n || got.out != n {
					t.Errorf("handler: %+v", got)
				}
			})
		}
		for _, errno := range []unix.Errno{unix.EINVAL, unix.ENOSYS, unix.EPERM, unix.ENOMEM} {
			for at := range 6 {
				sys := systemCalls
				use := 0
				sys.splice = func(from, to, n int) (int, error) {
					if use++; use > at {
						return -1, errno
					}
					return systemCalls.splice(from, to, n)
				}
				check(fmt.Sprintf("splice fails with %d from use %d", int(errno), at), sys)
			}
		}
		for name, change := range map[string]func(*calls){
			"no pipe":           func(s *calls) { s.pipe2 = func([]int, int) error { return unix.EMFILE } },
			"pipe not enlarged": func(s *calls) { s.setSize = func(int, int) (int, error) { return -1, unix.EPERM } },
			"pipe of one page": func(s *calls) {
				s.setSize = func(fd, _ int) (int, error) { return systemCalls.setSize(fd, 1) }
			},
			"pipe of unknown size": func(s *calls) {
				s.setSize = func(int, int) (int, error) { return -1, unix.EPERM }
				s.getSize = func(int) (int, error) { return -1, unix.EINVAL }
			},
			"nothing moves": func(s *calls) {
				use := 0
				s.splice = func(from, to, n int) (int, error) {
					if use++; use%2 == 0 {
						return 0, nil
					}
					return systemCalls.splice(from, to, n)
				}
			},
		} {
			sys := systemCalls
			change(&sys)
			check(name, sys)
		}
	})
}

// A vanished client must not look like a kernel that cannot splice. A socket reports
// its error only once.
func TestSpliceReportsReset(t *testing.T) {
	for at := range 4 {
		sys := systemCalls
		use := 0
		sys.splice = func(from, to, n int) (int, error) {
			if use++; use > at {
				return -1, unix.ECONNRESET
			}
			return systemCalls.splice(from, to, n)
		}
		server, client := sockettest.Unix(t)
		done := serve(server, ipc.Assignment{}, func(c *worker.Conn) error { return relay(c, sys) })
		go client.Write(testData(4 << 20))
		go io.Copy(io.Discard, client)
		if got := <-done; !errors.Is(got.err, worker.ErrPeerGone) {
			t.Errorf("reset from use %d: %v", at, got.err)
		}
		client.Close()
	}
}

// Bytes come back unchanged, whatever the sizes, the pauses and the results of splice.
func TestRelayProperty(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		connect := rapid.SampledFrom([]func(testing.TB) (int, sockettest.Client){sockettest.TCP, sockettest.Unix}).Draw(r, "connect")
		sizes := rapid.SliceOfN(rapid.OneOf(rapid.IntRange(1, 100), rapid.IntRange(1, 1<<20)), 1, 6).Draw(r, "sizes")
		// One result for each use of splice: 0 is the kernel's own result, and EINTR
		// comes before the call. A short count moves exactly that many bytes.
		plan := rapid.SliceOfN(rapid.SampledFrom([]int{0, 0, 0, -1, 1, 4096, -2}), 0, 12).Draw(r, "plan")
		sys := systemCalls
		sys.splice = func(from, to, n int) (int, error) {
			answer := 0
			if len(plan) > 0 {
				answer, plan = plan[0], plan[1:]
			}
			switch {
			case answer == -1:
				return -1, unix.EINTR
			case answer == -2:
				return -1, unix.EINVAL
			case answer > 0:
				n = min(n, answer)
			}
			return systemCalls.splice(from, to, n)
		}
		server, client := connect(t)
		defer client.Close()
		done := serve(server, ipc.Assignment{}, func(c *worker.Conn) error { return relay(c, sys) })
		var sent []byte
		for i, size := range sizes {
			sent = append(sent, testData(size+i)...)
		}
		go func() {
			for rest := sent; len(rest) > 0; {
				n := min(len(rest), sizes[len(rest)%len(sizes)])
				client.Write(rest[:n])
				rest = rest[n:]
			}
			client.CloseWrite()
		}()
		back, err := io.ReadAll(client)
		if err != nil || !bytes.Equal(back, sent) {
			r.Fatalf("%d of %d bytes came back, or others: %v", len(back), len(sent), err)
		}
		if got := <-done; got.err != nil || got.in != uint64(len(sent)) || got.out != got.in {
			r.Fatalf("handler: %+v", got)
		}
	})
}
