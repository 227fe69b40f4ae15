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

// SenderCommand is the hidden subcommand that calls RunSender. Its one argument is only
// information for the process list.
const SenderCommand = "sender"

// A senderProcess is the sender as the receiver sees it.
type senderProcess struct {
	cmd     *exec.Cmd
	pipe    *statusPipe
	reports chan report // closed when the process has been reaped
}

// startSender starts this program again as the sender, with the connection's socket.
// The caller keeps conn.
//
// The path is /proc/self/exe, because it is this same program even after an update has
// replaced or removed the file.
func startSender(conn net.Conn, settings senderSettings) (*senderProcess, error) {
	socket, err := conn.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		return nil, fmt.Errorf("share the connection: %w", err)
	}
	defer socket.Close()
	near, far, err := newStatusPipePair()
	if err != nil {
		return nil, err
	}
	defer far.Close()
	cmd := exec.Command("/proc/self/exe", SenderCommand, "--", conn.RemoteAddr().String())
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stderr = os.Stdin, os.Stderr
	cmd.ExtraFiles = []*os.File{socket, far} // fdSocket, fdStatusPipe
	if err := cmd.Start(); err != nil {
		near.conn.Close()
		return nil, fmt.Errorf("start the sending process: %w", err)
	}
	// File makes the socket blocking for both processes, because O_NONBLOCK belongs to
	// the open file description. This side reads through Go's poller and needs
	// O_NONBLOCK. The sender does the same with its copy.
	if raw, err := conn.(syscall.Conn).SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.SetNonblock(int(fd), true) })
	}
	p := &senderProcess{cmd: cmd, pipe: near, reports: make(chan report)}
	go p.readReports()
	if err := near.Encode(settings); err != nil {
		p.kill()
		return nil, fmt.Errorf("instruct the sending process: %w", err)
	}
	return p, nil
}

// readReports passes on the sender's reports and then reaps the sender. It reads the
// status pipe to its end first, so no report is lost.
func (p *senderProcess) readReports() {
	for {
		var r report
		if p.pipe.Decode(&r) != nil {
			break
		}
		p.reports <- r
	}
	p.cmd.Wait()
	close(p.reports)
}

// signalPeerClosed tells the sender that the peer has closed. It also continues a
// stopped sender.
func (p *senderProcess) signalPeerClosed() {
	p.cmd.Process.Signal(unix.SIGUSR1)
	p.cmd.Process.Signal(unix.SIGCONT)
}

// kill ends the sender in any state and reaps it. A running sender ends when the status
// pipe is closed. A stopped sender needs the signals too.
func (p *senderProcess) kill() {
	p.signalPeerClosed()
	p.pipe.conn.Close()
	late := time.AfterFunc(time.Second, func() { p.cmd.Process.Kill() })
	defer late.Stop()
	for range p.reports {
	}
}

// exitReason returns how a sender ended that reported no reason, and by which signal.
func (p *senderProcess) exitReason() (by unix.Signal, err error) {
	status, _ := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() {
		return 0, errors.New("the sending process ended without a reason")
	}
	by = status.Signal()
	return by, fmt.Errorf("the sending process was killed by %s", unix.SignalName(by))
}
