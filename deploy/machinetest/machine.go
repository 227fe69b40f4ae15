package machinetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A machine is a qemu that has booted.
type machine struct {
	port    *os.File // this side of the virtio port
	console *os.File // what qemu and the machine print; the file has no name any more
	ended   <-chan error
	kill    func()

	mu       sync.Mutex // one test at a time; guards the two
	commands *json.Encoder
	replies  *json.Decoder
}

// start boots a machine and waits until preforkd is installed in it. The caller closes
// it. When it does not come up, the error ends with the last lines of its console.
func start(ctx context.Context) (_ *machine, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("boot a machine: %w", err)
		}
	}()
	root, err := cachedRoot(ctx)
	if err != nil {
		return nil, err
	}
	opt, err := makeOpt(ctx)
	if err != nil {
		return nil, err
	}
	defer opt.Close()
	console, err := nameless("console")
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		console.Close()
		return nil, err
	}
	unix.SetNonblock(pair[0], true) // so that reads can have a deadline
	port, far := os.NewFile(uintptr(pair[0]), "port"), os.NewFile(uintptr(pair[1]), "port")
	defer far.Close()

	life, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(life, "qemu-system-x86_64", root.qemuArgs()...)
	cmd.Stdout, cmd.Stderr = console, console
	cmd.ExtraFiles = []*os.File{far, opt} // descriptors 3 and 4
	ended, err := startBound(cmd)
	if err != nil {
		kill()
		return nil, errors.Join(err, port.Close(), console.Close())
	}
	m := &machine{port: port, console: console, ended: ended, kill: kill, commands: json.NewEncoder(port), replies: json.NewDecoder(port)}
	deadline, _ := ctx.Deadline()
	port.SetDeadline(deadline)
	r, err := m.receive()
	if err == nil && !r.Ready {
		err = errors.New(r.Error)
	}
	if err != nil {
		m.close()
		return nil, err
	}
	return m, nil
}

// qemuArgs returns the arguments of a qemu whose descriptor 3 is the virtio port and
// whose descriptor 4 is the disk for /opt.
//
// It emulates the processor: a /dev/kvm that can be opened need not work. With
// snapshot=on what is written to the root goes to a file without a name. A kernel that
// panics boots again, which -no-reboot makes the end of qemu. systemd does not give up
// because the machine is slow.
func (r root) qemuArgs() []string {
	return []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1500",
		"-display", "none", "-monitor", "none", "-serial", "stdio", "-nic", "none", "-no-reboot",
		"-kernel", r.kernel, "-initrd", r.initrd,
		"-append", "root=/dev/vda rw fsck.mode=skip console=ttyS0 quiet panic=-1 systemd.show_status=0 systemd.log_level=warning" +
			" systemd.default_device_timeout_sec=600 systemd.default_timeout_start_sec=600",
		"-drive", "file=" + r.image + ",format=raw,if=virtio,snapshot=on",
		"-drive", "file=/proc/self/fd/4,format=raw,if=virtio,readonly=on",
		"-device", "virtio-serial-pci", "-chardev", "socket,id=port,fd=3", "-device", "virtserialport,chardev=port,name=" + portName,
	}
}

// run runs the test binary inside, passes on what it prints, and returns its exit code.
// After an error the machine is not usable any more.
func (m *machine) run(c command, output func([]byte)) (code int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	// A test that hangs is first ended inside, where the Go runtime says what hangs.
	m.port.SetDeadline(time.Now().Add(testDeadline() + testDeadline()/10))
	if err := m.commands.Encode(c); err != nil {
		return 0, m.explain(err)
	}
	for {
		r, err := m.receive()
		switch {
		case err != nil:
			m.kill()
			return 0, err
		case r.Error != "":
			return 0, errors.New(r.Error)
		case r.Ended:
			return r.ExitCode, nil
		}
		output(r.Output)
	}
}

// receive returns the next reply.
func (m *machine) receive() (reply, error) {
	var r reply
	if err := m.replies.Decode(&r); err != nil {
		return reply{}, m.explain(err)
	}
	return r, nil
}

// explain adds to an error of the port what the console says.
func (m *machine) explain(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
		err = errEnded
	}
	return fmt.Errorf("%w; the end of its console:\n%s", err, lastLines(m.console, 20))
}

// close ends the machine as it is. It returns when qemu is gone.
func (m *machine) close() {
	m.kill()
	<-m.ended
	m.port.Close()
	m.console.Close()
}

// lastLines returns the end of a file without what moves a terminal's cursor.
func lastLines(f *os.File, lines int) string {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err.Error()
	}
	text := make([]byte, min(size, 16<<10))
	if _, err := f.ReadAt(text, size-int64(len(text))); err != nil {
		return err.Error()
	}
	clean := strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, string(text))
	all := strings.Split(strings.TrimSpace(clean), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// nameless returns a temporary file without a name, which is gone with its last
// descriptor.
func nameless(what string) (*os.File, error) {
	f, err := os.CreateTemp("", "preforkd-machine-"+what+"-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}
