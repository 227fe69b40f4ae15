package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/worker/sockettest"
)

// spare starts a worker that waits for connections.
func spare(t *testing.T, args ...string) *process {
	t.Helper()
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, null, args)
}

// expect waits for a message of the wanted type and returns its body.
func (p *process) expect(t *testing.T, want ipc.Type) []byte {
	t.Helper()
	typ, body, err := ipc.Receive(p.control, make([]byte, ipc.MaxMessage), 0)
	if err != nil || typ != want {
		t.Fatalf("receive: %v, %v; want %v; stderr %q", typ, err, want, p.stderr.String())
	}
	return body
}

// expectReport waits for a report and returns it.
func (p *process) expectReport(t *testing.T) ipc.Report {
	t.Helper()
	r, err := ipc.DecodeReport(p.expect(t, ipc.TypeReport))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sendConnection sends an assignment with a connection. Then it closes its copy of the
// connection, as the master does after "taken".
func (p *process) sendConnection(t *testing.T, a ipc.Assignment, conn int) {
	t.Helper()
	msg, err := a.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ipc.SendConnection(p.control, msg, conn); err != nil {
		t.Fatal(err)
	}
	unix.Close(conn)
}

// expectEOF checks that the worker has closed its end of the channel.
func (p *process) expectEOF(t *testing.T) {
	t.Helper()
	if typ, _, err := ipc.Receive(p.control, make([]byte, ipc.MaxMessage), 0); err != io.EOF && err != unix.ECONNRESET {
		t.Errorf("after the end: %v, %v; want EOF", typ, err)
	}
}

// exchange sends a text and expects the echo handler to return it.
func exchange(t *testing.T, client sockettest.Client, text string) {
	t.Helper()
	back := make([]byte, len(text))
	client.Write([]byte(text))
	if _, err := io.ReadFull(client, back); err != nil || string(back) != text {
		t.Fatalf("echo: %q, %v; want %q", back, err, text)
	}
}

func TestSpareServesSeveralInTurn(t *testing.T) {
	p := spare(t, "echo")
	const connections = 5
	for i := range connections {
		p.expect(t, ipc.TypeReady)
		connect := sockettest.TCP
		if i%2 == 1 {
			connect = sockettest.Unix
		}
		server, client := connect(t)
		p.sendConnection(t, ipc.Assignment{Connection: fmt.Sprint("c", i), Reusable: i < connections-1}, server)
		p.expect(t, ipc.TypeAck)
		text := bytes.Repeat([]byte("x"), i+1)
		exchange(t, client, string(text))
		client.CloseWrite()
		if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		if r := p.expectReport(t); r.BytesIn != uint64(i+1) || r.BytesOut != uint64(i+1) || r.Reason != ipc.ReasonEOF {
			t.Errorf("report %+v", r)
		}
	}
	p.expectEOF(t)
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// A reset or a handler's error affects only its own connection.
func TestSpareServesAfterReset(t *testing.T) {
	p := spare(t, "echo")
	for range 2 {
		p.expect(t, ipc.TypeReady)
		server, client := sockettest.TCP(t)
		p.sendConnection(t, ipc.Assignment{Reusable: true}, server)
		p.expect(t, ipc.TypeAck)
		exchange(t, client, "x")
		sockettest.Reset(t, client)
		if r := p.expectReport(t); r.Reason != ipc.ReasonReset {
			t.Errorf("report %+v", r)
		}
	}
	p.expect(t, ipc.TypeReady)
	unix.Close(p.control)
	p.control = -1
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// A waiting spare can be dismissed in two ways. It reports nothing in either case.
func TestSpareDismissed(t *testing.T) {
	for name, dismiss := range map[string]func(p *process) error{
		"closed":  func(p *process) error { err := unix.Shutdown(p.control, unix.SHUT_RDWR); return err },
		"drained": func(p *process) error { return ipc.Send(p.control, ipc.Drain) },
	} {
		for _, served := range []bool{false, true} {
			t.Run(fmt.Sprint(name, "/served=", served), func(t *testing.T) {
				p := spare(t, "echo")
				p.expect(t, ipc.TypeReady)
				if served {
					server, client := sockettest.Unix(t)
					p.sendConnection(t, ipc.Assignment{Reusable: true}, server)
					p.expect(t, ipc.TypeAck)
					client.CloseWrite()
					p.expect(t, ipc.TypeReport)
					p.expect(t, ipc.TypeReady)
				}
				if err := dismiss(p); err != nil {
					t.Fatal(err)
				}
				if code := p.expectExit(t, ""); code != ipc.ExitOK {
					t.Errorf("exit code %s", ipc.ExitName(code))
				}
			})
		}
	}
}

// A drain during a connection lets the worker finish it. The worker then takes no
// further connection.
func TestSpareDrainedWhileServing(t *testing.T) {
	p := spare(t, "echo")
	p.expect(t, ipc.TypeReady)
	server, client := sockettest.TCP(t)
	p.sendConnection(t, ipc.Assignment{Reusable: true}, server)
	p.expect(t, ipc.TypeAck)
	if err := ipc.Send(p.control, ipc.Drain); err != nil {
		t.Fatal(err)
	}
	exchange(t, client, "still here")
	client.CloseWrite()
	if r := p.expectReport(t); r.Reason != ipc.ReasonEOF {
		t.Errorf("report %+v", r)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// A worker that is drained before its assignment still serves that connection.
func TestDrainBeforeAssignment(t *testing.T) {
	server, client := sockettest.TCP(t)
	p := start(t, server, []string{"echo"}, ipc.Drain, assignment(t))
	exchange(t, client, "hello")
	client.CloseWrite()
	if r := p.report(t); r.Reason != ipc.ReasonEOF {
		t.Errorf("report %+v", r)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// A spare whose master dies serves its connection to the end and then exits.
func TestMasterDiesWhileSpareServes(t *testing.T) {
	p := spare(t, "echo")
	p.expect(t, ipc.TypeReady)
	server, client := sockettest.TCP(t)
	p.sendConnection(t, ipc.Assignment{Reusable: true}, server)
	p.expect(t, ipc.TypeAck)
	unix.Close(p.control)
	p.control = -1
	exchange(t, client, "anybody there?")
	client.CloseWrite()
	if rest, err := io.ReadAll(client); len(rest) > 0 || err != nil {
		t.Errorf("at the end: %q, %v", rest, err)
	}
	if code := p.expectExit(t, ""); code != ipc.ExitOK {
		t.Errorf("exit code %s", ipc.ExitName(code))
	}
}

// Every violation by the master ends the worker, with everything closed.
func TestSpareRefusals(t *testing.T) {
	good := assignment(t)
	socket := func() int { server, _ := sockettest.Unix(t); return server }
	datagram := func() int {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	version := bytes.Clone(good)
	version[2]++
	for name, test := range map[string]struct {
		message []byte
		fds     []int
		code    int
		said    string
	}{
		"no connection":           {good, nil, ipc.ExitProtocol, "without a connection"},
		"two connections":         {good, []int{socket(), socket()}, ipc.ExitProtocol, "carries 2 descriptors"},
		"many connections":        {good, []int{socket(), socket(), socket(), socket(), socket()}, ipc.ExitProtocol, "descriptors"},
		"a file":                  {good, []int{0}, ipc.ExitDescriptors, "receive connection: fd"},
		"a datagram socket":       {good, []int{datagram()}, ipc.ExitDescriptors, "is a socket of type 2"},
		"garbage":                 {[]byte("garbage!"), nil, ipc.ExitProtocol, "malformed"},
		"garbage and a socket":    {[]byte("garbage!"), []int{socket()}, ipc.ExitProtocol, "malformed"},
		"too large":               {make([]byte, ipc.MaxMessage+1), nil, ipc.ExitProtocol, "more than"},
		"too large, and a socket": {make([]byte, ipc.MaxMessage+1), []int{socket()}, ipc.ExitProtocol, "more than"},
		"other version":           {version, []int{socket()}, ipc.ExitVersion, "probably replaced"},
		"ready":                   {ipc.Ready, nil, ipc.ExitProtocol, "unexpected message: ready"},
		"a drain with a socket":   {ipc.Drain, []int{socket()}, ipc.ExitProtocol, "unexpected message: drain"},
	} {
		t.Run(name, func(t *testing.T) {
			p := spare(t, "echo")
			p.expect(t, ipc.TypeReady)
			var rights []byte
			if test.fds != nil {
				rights = unix.UnixRights(test.fds...)
			}
			if err := unix.Sendmsg(p.control, test.message, rights, nil, 0); err != nil {
				t.Fatal(err)
			}
			p.expectEOF(t)
			if code := p.expectExit(t, test.said); code != test.code {
				t.Errorf("exit code %s, want %s", ipc.ExitName(code), ipc.ExitName(test.code))
			}
		})
	}
}
