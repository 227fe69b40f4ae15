package machinetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// installed is the tree in /opt that "make install" has filled.
const installed = "/opt/installed"

// serve runs tests inside, as it is told by the port, until that ends.
func serve() error {
	port, err := os.OpenFile("/dev/virtio-ports/"+portName, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer port.Close()
	replies := json.NewEncoder(port)
	first := reply{Ready: true}
	if err := install(); err != nil {
		first = reply{Error: err.Error()}
	}
	if err := replies.Encode(first); err != nil {
		return err
	}
	for commands := json.NewDecoder(port); ; {
		var c command
		if err := commands.Decode(&c); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := replies.Encode(c.run(replies)); err != nil {
			return err
		}
	}
}

// install does inside what the documents say is to be done by whoever installs
// preforkd.
func install() error {
	for _, args := range [][]string{
		{"cp", "-a", installed + "/.", "/"},
		{"systemd-sysusers"},
		{"systemd-tmpfiles", "--create", "/usr/local/lib/tmpfiles.d/preforkd.conf"},
		{"systemctl", "daemon-reload"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("install preforkd: %v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// run runs the test binary, sends what it prints, and returns how it ended.
func (c command) run(replies *json.Encoder) reply {
	exe, err := os.Executable()
	if err != nil {
		return reply{Error: err.Error()}
	}
	cmd := exec.Command(exe, c.Args...)
	cmd.Dir = "/opt"
	cmd.Env = append(append(os.Environ(), c.Env...), envInside+"="+test)
	output := sender{replies}
	cmd.Stdout, cmd.Stderr = output, output
	// A test that leaves a process behind, which has its output open, has failed.
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return reply{Error: fmt.Sprintf("in the machine: %v", err)}
	}
	return reply{Ended: true, ExitCode: cmd.ProcessState.ExitCode()}
}

// A sender sends what is written to it.
type sender struct{ replies *json.Encoder }

func (s sender) Write(p []byte) (int, error) {
	if err := s.replies.Encode(reply{Output: p}); err != nil {
		return 0, err
	}
	return len(p), nil
}
