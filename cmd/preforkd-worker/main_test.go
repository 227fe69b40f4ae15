package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// binary is the program under test, built as it is shipped. With the race detector its
// descriptors and its exit would be different.
var binary string

func TestMain(m *testing.M) {
	// The workers must not inherit the descriptors that this test was started with.
	if err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		panic(err)
	}
	path, remove, err := systest.ShippedWorker()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = path
	code := m.Run()
	remove()
	os.Exit(code)
}

// A process is a running worker with the master's end of its control channel.
type process struct {
	cmd     *exec.Cmd
	stderr  bytes.Buffer
	control int
}

// start runs the worker on a connection, with messages already waiting in its control
// channel. start owns the server's end.
func start(t *testing.T, server int, args []string, messages ...[]byte) *process {
	t.Helper()
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(master) })
	for _, msg := range messages {
		if err := ipc.Send(master, msg); err != nil {
			t.Fatal(err)
		}
	}
	p := launch(t, args, os.NewFile(uintptr(server), "connection"), os.NewFile(uintptr(control), "control"))
	p.control = master
	return p
}

// launch starts the worker with these files from fd 3 upwards, and then closes them in
// this process.
func launch(t *testing.T, args []string, files ...*os.File) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...)}
	if len(args) > 0 && strings.HasPrefix(args[0], "exec-") {
		// The file limit, which workers may raise for themselves, matters to programs.
		p.cmd = exec.Command(shell(t), withFileLimit(t, args...)[1:]...)
	}
	p.cmd.ExtraFiles = files
	p.cmd.Stderr = &p.stderr
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f != nil {
			f.Close()
		}
	}
	return p
}

// expectExit waits for the end and returns the exit code. It checks that stderr has one
// line that contains said. When said is empty, stderr must be empty.
func (p *process) expectExit(t *testing.T, said string) int {
	t.Helper()
	p.cmd.Wait()
	got := p.stderr.String()
	if said == "" {
		if got != "" {
			t.Errorf("stderr: %q", got)
		}
	} else if !strings.HasPrefix(got, "preforkd-worker: ") || !strings.Contains(got, said) || strings.Count(got, "\n") != 1 {
		t.Errorf("stderr: %q, want one line with %q", got, said)
	}
	return p.cmd.ProcessState.ExitCode()
}

// report returns the worker's report and checks that nothing follows it.
func (p *process) report(t *testing.T) ipc.Report {
	t.Helper()
	buf := make([]byte, ipc.MaxMessage)
	typ, body, err := ipc.Receive(p.control, buf, 0)
	if err != nil || typ != ipc.TypeReport {
		t.Fatalf("receive report: %v, %v", typ, err)
	}
	r, err := ipc.DecodeReport(body)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ipc.Receive(p.control, buf, 0); err != io.EOF {
		t.Errorf("after the report: %v, want EOF", err)
	}
	return r
}

func assignment(t *testing.T, settings ...ipc.Pair) []byte {
	t.Helper()
	a := ipc.Assignment{Connection: "c1", Service: "echo", Peer: "127.0.0.1:4242", Local: "127.0.0.1:7007", Settings: settings}
	msg, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestServesToTheEnd(t *testing.T) {
	sockettest.Each(t, func(t *testing.T, connect func(testing.TB) (int, sockettest.Client)) {
		server, client := connect(t)
		p := start(t, server, []string{"echo"}, assignment(t))
		data := bytes.Repeat([]byte("0123456789"), 1<<20)
		go func() {
			client.Write(data)
			client.CloseWrite()
		}()
		if back, err := io.ReadAll(client); !bytes.Equal(back, data) || err != nil {
			t.Errorf("%d of %d bytes came back, %v", len(back), len(data), err)
		}
		n := uint64(len(data))
		if got, want := p.report(t), (ipc.Report{BytesIn: n, BytesOut: n, Reason: ipc.ReasonEOF}); !reflect.DeepEqual(got, want) {
			t.Errorf("report %+v, want %+v", got, want)
		}
		if code := p.expectExit(t, ""); code != ipc.ExitOK {
			t.Errorf("exit code %d", code)
		}
	})
}

func TestQuitWord(t *testing.T) {
	server, client := sockettest.TCP(t)
	p := start(t, server, []string{"echo"}, assignment(t, ipc.Pair{Key: ipc.SettingQuitWord, Value: "exit"}))
	client.Write([]byte("hello\nexit\n"))
	if back, err := io.ReadAll(client); string(back) != "hello\n" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	client.Close()
	if got, want := p.report(t), (ipc.Report{BytesIn: 11, BytesOut: 6, Reason: ipc.ReasonQuitWord}); !reflect.DeepEqual(got, want) {
		t.Errorf("report %+v, want %+v", got, want)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestReset(t *testing.T) {
	server, client := sockettest.TCP(t)
	p := start(t, server, []string{"echo"}, assignment(t))
	client.Write([]byte("x"))
	io.ReadFull(client, make([]byte, 1))
	sockettest.Reset(t, client)
	if got, want := p.report(t), (ipc.Report{BytesIn: 1, BytesOut: 1, Reason: ipc.ReasonReset}); !reflect.DeepEqual(got, want) {
		t.Errorf("report %+v, want %+v", got, want)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitReset {
		t.Errorf("exit code %d", code)
	}
}

// The connection continues unchanged when the master dies.
func TestMasterDiesWhileServing(t *testing.T) {
	server, client := sockettest.TCP(t)
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ipc.Send(master, assignment(t)); err != nil {
		t.Fatal(err)
	}
	p := launch(t, []string{"echo"}, os.NewFile(uintptr(server), ""), os.NewFile(uintptr(control), ""))
	answer := make([]byte, 1)
	client.Write([]byte("a"))
	if _, err := io.ReadFull(client, answer); err != nil {
		t.Fatal(err)
	}
	unix.Close(master)
	client.Write([]byte("b"))
	client.CloseWrite()
	if back, err := io.ReadAll(client); string(back) != "b" || err != nil {
		t.Errorf("%q, %v", back, err)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestRefusals(t *testing.T) {
	good := assignment(t)
	edit := func(at int, b byte) []byte {
		msg := bytes.Clone(good)
		msg[at] = b
		return msg
	}
	report, err := (&ipc.Report{}).Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args    []string
		message []byte
		code    int
		said    string
	}{
		"unknown handler":    {[]string{"ehco"}, good, ipc.ExitUnknownHandler, `unknown handler "ehco", have echo`},
		"no handler":         {nil, good, ipc.ExitUnknownHandler, "the handler (echo), got 0"},
		"two handlers":       {[]string{"echo", "echo"}, good, ipc.ExitUnknownHandler, "got 2"},
		"other version":      {[]string{"echo"}, edit(2, ipc.Protocol+1), ipc.ExitVersion, fmt.Sprintf("version: %d, this side speaks %d; this worker's binary was probably replaced", ipc.Protocol+1, ipc.Protocol)},
		"other magic":        {[]string{"echo"}, edit(0, 'x'), ipc.ExitProtocol, "malformed"},
		"cut short":          {[]string{"echo"}, good[:len(good)-1], ipc.ExitProtocol, "malformed"},
		"body is nonsense":   {[]string{"echo"}, edit(8, 0xff), ipc.ExitProtocol, "malformed"},
		"unexpected message": {[]string{"echo"}, report, ipc.ExitProtocol, "unexpected message: report"},
	} {
		t.Run(name, func(t *testing.T) {
			server, _ := sockettest.Unix(t)
			p := start(t, server, test.args, test.message)
			if code := p.expectExit(t, test.said); code != test.code {
				t.Errorf("exit code %s, want %s", ipc.ExitName(code), ipc.ExitName(test.code))
			}
		})
	}
}

func TestMasterDiesBeforeAssignment(t *testing.T) {
	server, _ := sockettest.Unix(t)
	master, control, err := ipc.NewChannel()
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(master)
	p := launch(t, []string{"echo"}, os.NewFile(uintptr(server), ""), os.NewFile(uintptr(control), ""))
	if code := p.expectExit(t, "the master is gone"); code != ipc.ExitOrphaned {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

func TestSurplusDescriptorsAreRefused(t *testing.T) {
	server, _ := sockettest.Unix(t)
	p := start(t, server, []string{"echo"})
	if err := unix.Sendmsg(p.control, assignment(t), unix.UnixRights(0), nil, 0); err != nil {
		t.Fatal(err)
	}
	if code := p.expectExit(t, "carries descriptors"); code != ipc.ExitProtocol {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

func TestStartedByHand(t *testing.T) {
	file := func() *os.File {
		// The file must not be /dev/null, which a spare has in place of its connection.
		f, err := os.Open("/dev/zero")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	socket := func(typ int) *os.File {
		fd, err := unix.Socket(unix.AF_UNIX, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "socket")
	}
	nonBlocking := func() *os.File {
		f := socket(unix.SOCK_STREAM)
		// Set the mode without the os.File's knowledge: otherwise exec.Cmd would
		// restore blocking mode.
		if err := unix.SetNonblock(int(f.Fd()), true); err != nil {
			t.Fatal(err)
		}
		return f
	}
	for name, test := range map[string]struct {
		files []*os.File
		said  string
	}{
		"nothing":              {nil, "fd 3 must be a connected stream socket, and is not open"},
		"a file":               {[]*os.File{file()}, "fd 3 must be a connected stream socket, and is no socket"},
		"a datagram socket":    {[]*os.File{socket(unix.SOCK_DGRAM)}, "fd 3 must be a connected stream socket, and is a socket of type 2"},
		"non-blocking":         {[]*os.File{nonBlocking()}, "fd 3 must be in blocking mode"},
		"no control channel":   {[]*os.File{socket(unix.SOCK_STREAM)}, "fd 4 must be the control channel, a SOCK_SEQPACKET socket, and is not open"},
		"a file for a channel": {[]*os.File{socket(unix.SOCK_STREAM), file()}, "fd 4 must be the control channel, a SOCK_SEQPACKET socket, and is no socket"},
		"a stream for it":      {[]*os.File{socket(unix.SOCK_STREAM), socket(unix.SOCK_STREAM)}, "fd 4 must be the control channel, a SOCK_SEQPACKET socket, and is a socket of type 1"},
	} {
		t.Run(name, func(t *testing.T) {
			p := launch(t, []string{"echo"}, test.files...)
			if code := p.expectExit(t, test.said); code != ipc.ExitDescriptors {
				t.Errorf("exit code %s", ipc.ExitName(code))
			}
		})
	}
}

// A serving worker has five descriptors. Programs that a handler starts must not
// inherit the contract's two.
func TestDescriptorsOfAServingWorker(t *testing.T) {
	server, client := sockettest.TCP(t)
	p := start(t, server, []string{"echo"}, assignment(t))
	client.Write([]byte("x"))
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	proc := fmt.Sprintf("/proc/%d/", p.cmd.Process.Pid)
	entries, err := os.ReadDir(proc + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if !strings.Contains("01234", entry.Name()) {
			target, _ := os.Readlink(proc + "fd/" + entry.Name())
			t.Errorf("fd %s is open: %s", entry.Name(), target)
		}
	}
	for _, fd := range []string{"3", "4"} {
		var flags int
		info, err := os.ReadFile(proc + "fdinfo/" + fd)
		if err != nil {
			t.Fatal(err)
		}
		if _, rest, _ := strings.Cut(string(info), "flags:"); rest != "" {
			fmt.Sscanf(rest, "%o", &flags)
		}
		if flags&unix.O_CLOEXEC == 0 {
			t.Errorf("fd %s is not closed on exec: flags %#o", fd, flags)
		}
	}
	client.CloseWrite()
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %d", code)
	}
}
