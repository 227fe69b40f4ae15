package stub

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc/needtest"
)

// An entry sends the listener of its filter, with its number, past the filter. The program
// has neither the listener nor the socket, and the kernel tells of its calls.
func TestListener(t *testing.T) {
	reports, report := socketpair(t, unix.SOCK_DGRAM)
	const cookie, number = 0x8123456789abcdef, 0xfffffffe
	// What has a cookie passes, and nobody else may do these.
	filter := unlessCookie(unix.SECCOMP_RET_KILL_PROCESS, cookie, uint32(unix.SYS_SENDMSG), uint32(unix.SYS_DUP3))
	e := Entry{
		Report: 3, Path: needtest.Program(t, "ls"), NoNewPrivileges: true, Cookie: cookie, Listener: number,
		Filter: append(append([]unix.SockFilter{}, loadWord(0), skipUnless(uint32(unix.SYS_GETDENTS64), 1), ret(unix.SECCOMP_RET_USER_NOTIF)), filter...),
	}
	image, err := e.Image()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(memfd(t, image), "-l", "/proc/self/fd")
	cmd.ExtraFiles = []*os.File{report}
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var message, control [64]byte
	n, cn, _, _, err := unix.Recvmsg(reports, message[:], control[:], unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := ParseListener(message[:n]); !ok || got != number {
		t.Fatalf("the message is %x", message[:n])
	}
	if _, err := ParseFailure(message[:n]); err == nil {
		t.Error("a listener is taken for a failure")
	}
	messages, err := unix.ParseSocketControlMessage(control[:cn])
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	rights, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(rights) != 1 {
		t.Fatalf("%v, %v", rights, err)
	}
	link, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", rights[0]))
	if err != nil || link != "anon_inode:seccomp notify" {
		t.Errorf("the descriptor is %s, %v", link, err)
	}
	// Its first read of a directory waits until the listener is gone, and fails then.
	poll := []unix.PollFd{{Fd: int32(rights[0]), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(poll, -1); err != unix.EINTR {
			break
		}
	}
	if poll[0].Revents != unix.POLLIN {
		t.Errorf("events of the listener: %x", poll[0].Revents)
	}
	unix.Close(rights[0])
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || !strings.Contains(out.String(), "not implemented") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// The program has no descriptor but those that it had before.
func TestListenerIsClosed(t *testing.T) {
	const cookie = 0x8123456789abcdef
	e := Entry{
		Report: 3, Path: needtest.Program(t, "ls"), NoNewPrivileges: true, Cookie: cookie, Listener: 1,
		Filter: unlessCookie(unix.SECCOMP_RET_KILL_PROCESS, cookie, uint32(unix.SYS_SENDMSG)),
	}
	image, err := e.Image()
	if err != nil {
		t.Fatal(err)
	}
	_, report := socketpair(t, unix.SOCK_DGRAM)
	cmd := exec.Command(memfd(t, image), "-l", "/proc/self/fd")
	cmd.ExtraFiles = []*os.File{report}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Contains(string(out), "seccomp") || strings.Contains(string(out), "socket:") {
		t.Errorf("%v: %s", err, out)
	}
}

// Without room for descriptors the entry says which step has failed.
func TestNoRoomForListener(t *testing.T) {
	for limit, want := range map[uint64]Action{4: InstallFilter, 6: MoveListener} {
		e := Entry{
			Report: 3, Path: "/nowhere", NoNewPrivileges: true, Cookie: 1, Listener: 1,
			Limits: []Limit{{unix.RLIMIT_NOFILE, limit, limit}}, Filter: []unix.SockFilter{ret(unix.SECCOMP_RET_ALLOW)},
		}
		r := own.run(t, e, nil, "x")
		if r.code != ExitFailed || r.failure.Step.Action != want {
			t.Errorf("%d descriptors: %+v", limit, r)
		}
	}
}
