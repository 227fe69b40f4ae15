package config

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/slowtest"
)

func fifo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// write writes into a FIFO in the background, one text after the other, once
// somebody reads, and closes it.
func writeFIFO(t *testing.T, path string, texts ...string) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		for _, text := range texts {
			if err == nil {
				_, err = f.WriteString(text)
			}
			time.Sleep(20 * time.Millisecond) // so that the reader finds nothing for a while
		}
		if err == nil {
			err = f.Close()
		}
		done <- err
	}()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A configuration may come through a FIFO, in as many pieces as it likes.
func TestReadFIFO(t *testing.T) {
	path, text := fifo(t), minimal+worker(t)
	writeFIFO(t, path, text[:5], text[5:40], text[40:])
	c, err := NewFile(path).Load(Run{})
	if err != nil || len(c.Services) != 1 {
		t.Errorf("%v, %+v", err, c.Services)
	}
	// An empty one is no configuration, and is not waited for any longer.
	path = fifo(t)
	writeFIFO(t, path, "")
	started := time.Now()
	if _, err := NewFile(path).Load(Run{}); err == nil || !strings.Contains(err.Error(), "there is no service") {
		t.Errorf("%v after %v", err, time.Since(started))
	}
}

// What can never come to an end, or is no file, is an error that says so.
func TestReadNoConfiguration(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxFile+1); err != nil {
		t.Fatal(err)
	}
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink("nowhere", dangling); err != nil {
		t.Fatal(err)
	}
	slow := fifo(t)
	w, err := os.OpenFile(slow, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.WriteString("[service.a]\n"); err != nil {
		t.Fatal(err)
	}
	endless := fifo(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		f, err := os.OpenFile(endless, os.O_RDWR, 0)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		for {
			select {
			case <-stop:
				return
			default:
				_ = f.SetWriteDeadline(time.Now().Add(time.Second))
				_, _ = f.Write(make([]byte, 1<<20))
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	for path, want := range map[string]string{
		dir:         ": is a directory",
		socket:      ": is a socket; a configuration is a regular file or a FIFO",
		"/dev/zero": ": is a device; a configuration is a regular file or a FIFO",
		large:       " has more than 16777216 bytes",
		endless:     " has more than 16777216 bytes",
		dangling:    ": no such file or directory",
		fifo(t):     ": nobody has written into this FIFO within 20ms",
		slow:        ": whoever writes into this FIFO has not come to an end within 20ms",
	} {
		f := NewFile(path)
		f.limit, f.grace = 20*time.Millisecond, slowtest.Scale(time.Minute)
		if path == endless {
			f.limit = f.grace
		}
		if _, err := f.Load(Run{}); err == nil || !strings.HasPrefix(err.Error(), "read configuration: ") || !strings.Contains(err.Error(), path+want) {
			t.Errorf("got %v, want %s%s", err, path, want)
		}
		if since, stalled := f.Stalled(); stalled || !since.IsZero() {
			t.Errorf("%s: still being read", path)
		}
	}
}

// A read that does not come to an end is given up, and is the only one until it
// does. Then the file can be read again.
func TestStalledFile(t *testing.T) {
	release := make(chan struct{})
	reads := 0
	f := &File{path: "/hanging/file", limit: 0, grace: time.Millisecond, read: func(string, time.Duration) ([]byte, error) {
		if reads++; reads == 1 {
			<-release
			return []byte("too late"), nil
		}
		return []byte(minimal + "[master]\nworker-binary = '/bin/cat'\n"), nil
	}}
	if _, stalled := f.Stalled(); stalled {
		t.Error("stalled before anything was read")
	}
	_, err := f.Load(Run{})
	if want := "read configuration: /hanging/file could not be read within 0s; its file system does not answer"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	since, stalled := f.Stalled()
	if !stalled {
		t.Error("not stalled")
	}
	for range 3 {
		_, err = f.Load(Run{})
		if want := "read configuration: /hanging/file is still being read since " + since.Format(time.TimeOnly); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	close(release)
	f.grace = slowtest.Scale(time.Minute)
	for deadline := time.Now().Add(f.grace); ; time.Sleep(time.Millisecond) {
		if since, _ := f.Stalled(); since.IsZero() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the read has not ended")
		}
	}
	if c, err := f.Load(Run{}); err != nil || len(c.Services) != 1 || reads != 2 {
		t.Errorf("%v, %d reads", err, reads)
	}
}

// A FIFO in the place of a program is refused; nobody waits for a writer.
func TestProgramIsAFIFO(t *testing.T) {
	path := fifo(t)
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if got := check(t, "[service.a]\nlisten = [':1']\nprogram = ['"+path+"']\n"); !strings.HasSuffix(got, "is not a regular file") {
		t.Error(got)
	}
}
