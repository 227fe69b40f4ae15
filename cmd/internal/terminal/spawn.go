package terminal

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// SenderCommand is the hidden subcommand that calls RunSender. Its one argument
// is there for whoever looks at the process list.
const SenderCommand = "sender"

// A senderProcess is the second process, as the receiver sees it.
type senderProcess struct {
	cmd      *exec.Cmd
	lifeline *lifeline
	reports  chan report // closed when the process has been reaped
}

// startSender starts this program once more with the connection's socket. The
// caller keeps conn.
//
// /proc/self/exe rather than a path: it is this very program even after an
// update has replaced or removed the file.
func startSender(conn net.Conn, with settings) (*senderProcess, error) {
	socket, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, fmt.Errorf("share the connection: %w", err)
	}
	defer socket.Close()
	near, far, err := newLifelinePair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", SenderCommand, "--", conn.RemoteAddr().String())
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	cmd.ExtraFiles = []*os.File{socket, far} // fdSocket, fdLifeline
	if err := cmd.Start(); err != nil {
		near.conn.Close()
		return nil, fmt.Errorf("start the sending process: %w", err)
	}
	// Handing the socket over makes it blocking, for both: O_NONBLOCK belongs
	// to the description, and this side's reads go through the poller. The
	// sender does the same with its copy.
	if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetNonblock(int(fd), true) })
	}
	p := &senderProcess{cmd: cmd, lifeline: near, reports: make(chan report)}
	go p.attend()
	if err := near.Encode(with); err != nil {
		p.kill()
		return nil, fmt.Errorf("instruct the sending process: %w", err)
	}
	return p, nil
}

// attend passes on what the sender says, and reaps it. Nothing that it said is
// lost, because the lifeline is read to its end first.
func (p *senderProcess) attend() {
	for {
		var r report
		if p.lifeline.Decode(&r) != nil {
			break
		}
		p.reports <- r
	}
	p.cmd.Wait()
	close(p.reports)
}

// release tells the sender that the peer is gone. One that somebody stopped is
// continued for that.
func (p *senderProcess) release() {
	p.cmd.Process.Signal(unix.SIGUSR1)
	p.cmd.Process.Signal(unix.SIGCONT)
}

// kill ends the sender whatever it is doing, and reaps it. The end of the
// lifeline would do for one that runs; one that is stopped needs more.
func (p *senderProcess) kill() {
	p.release()
	p.lifeline.conn.Close()
	late := time.AfterFunc(time.Second, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	for range p.reports {
	}
}

// death says how a sender ended that gave no reason, and by which signal.
func (p *senderProcess) death() (by unix.Signal, err error) {
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return 0, errors.New("the sending process ended without a reason")
	}
	by = status.Signal()
	return by, fmt.Errorf("the sending process was killed by %s", unix.SignalName(by))
}
