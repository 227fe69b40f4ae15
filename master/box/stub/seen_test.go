package stub

import (
	"os"
	"strconv"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
	"github.com/preforkd/preforkd/master/box/boxtest"
	"golang.org/x/sys/unix"
)

// An Init sees what somebody has left in a directory, and whether anybody uses it.
func TestSeen(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		directory := t.TempDir()
		i := Init{Mounts: []Mount{private, {"private", directory, "tmpfs", 0, "nr_inodes=100"}}, Directories: []string{directory, "/"}, IPC: true}
		c, first := m.start(t, i, "")
		if err := ParseReady(first); err != nil {
			t.Fatal(err)
		}
		inside := "/proc/" + strconv.Itoa(c.cmd.Process.Pid) + "/root" + directory
		look := func(request byte) []byte {
			if _, err := unix.Write(c.control, []byte{request}); err != nil {
				t.Fatal(err)
			}
			return c.receive(t)
		}
		for files := range 3 {
			for _, request := range []byte{RequestCheck, RequestLook} {
				answer := look(request)
				if len(answer) != i.answerSize() {
					t.Fatalf("%q: an answer of %d bytes, want %d", request, len(answer), i.answerSize())
				}
				if m.goarch != own.goarch {
					continue // its structures are not those of this machine
				}
				seen, err := i.ParseSeen(answer)
				if err != nil {
					t.Fatal(err)
				}
				var st unix.Stat_t
				if err := unix.Stat(inside, &st); err != nil {
					t.Fatal(err)
				}
				of := seen.Directories[0]
				if of.Stat != st || of.FileSystem.Type != unix.TMPFS_MAGIC || of.FileSystem.Files-of.FileSystem.Ffree != uint64(1+files) {
					t.Errorf("with %d files: %+v, want %+v", files, of, st)
				}
				if root := seen.Directories[1].Stat; root.Mode&unix.S_IFMT != unix.S_IFDIR || root.Dev == st.Dev {
					t.Errorf("/ is %+v", root)
				}
			}
			if err := os.WriteFile(inside+"/"+strconv.Itoa(files), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		user, err := os.Open(inside)
		if err != nil {
			t.Fatal(err)
		}
		if answer := look(RequestCheck); string(answer) != string(answerLeft) {
			t.Errorf("somebody uses a mount, and the answer has %d bytes", len(answer))
		}
		if answer := look(RequestLook); len(answer) != i.answerSize() {
			t.Errorf("somebody uses a mount, and nothing is seen: %d bytes", len(answer))
		}
		user.Close()
		if answer := look(RequestCheck); len(answer) != i.answerSize() {
			t.Errorf("nobody uses a mount any more: %d bytes", len(answer))
		}
	})
}

func TestParseSeen(t *testing.T) {
	i := Init{Directories: []string{"/tmp"}}
	for _, message := range []string{"", "e", "x", string(make([]byte, directorySize-1)), string(make([]byte, directorySize+1))} {
		if seen, err := i.ParseSeen([]byte(message)); err == nil || seen != nil {
			t.Errorf("%d bytes are taken for an answer: %+v", len(message), seen)
		}
	}
	if seen, err := i.ParseSeen([]byte{answerLeft}); seen != nil || err != nil {
		t.Errorf("%+v, %v", seen, err)
	}
	if seen, err := new(Init).ParseSeen([]byte{answerEmpty}); seen == nil || err != nil {
		t.Errorf("%+v, %v", seen, err)
	}
	if _, err := (&Init{Directories: make([]string, maxDirectories+1)}).Image(); err == nil {
		t.Error("an image looks at more than has room")
	}
}

// An Init looks for users of mounts when no process is left that could make others users,
// and changes nothing before: a second mark would unmount what somebody has marked.
func TestLookWhenAlone(t *testing.T) {
	needtest.Root(t)
	eachTarget(t, func(t *testing.T, m target) {
		directory := t.TempDir()
		c := newCell(t, m, Mount{"private", directory, "tmpfs", 0, ""})
		sleep := c.enter(t, nil, nil, "sleep", "1000000")
		defer sleep.Wait()
		defer sleep.Process.Kill()
		err := boxtest.InsideProcess(c.cmd.Process.Pid, unix.CLONE_NEWNS, func() error { return unix.Unmount(directory, unix.MNT_EXPIRE) })
		if err != unix.EAGAIN {
			t.Fatalf("mark: %v", err)
		}
		if c.ask(t, RequestCheck) {
			t.Error("empty with a program")
		}
		var fs unix.Statfs_t
		if err := unix.Statfs("/proc/"+strconv.Itoa(c.cmd.Process.Pid)+"/root"+directory, &fs); err != nil || fs.Type != unix.TMPFS_MAGIC {
			t.Errorf("the mount of a program is gone: %v, %#x", err, fs.Type)
		}
	})
}
