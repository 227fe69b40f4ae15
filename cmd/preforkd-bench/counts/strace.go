package counts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"
)

// How long strace may take.
const (
	attachTimeout = 30 * time.Second
	detachTimeout = 30 * time.Second
)

// trace attaches strace to all threads of a process, runs the load, lets go, and
// returns the system calls that the process made meanwhile.
func (b *Bench) trace(ctx context.Context, pid int, file string, load func() error) (*traced, error) {
	out, err := os.Create(file + ".errors")
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer out.Close()
	// -b execve lets go of a child that becomes a program: what that does is not
	// the master's, and must not be slowed down.
	// -y says what a descriptor is.
	cmd := exec.CommandContext(ctx, "strace", "-f", "-b", "execve", "-y", "-qq", "-s", "0", "-e", "signal=none", "-o", file, "-p", strconv.Itoa(pid))
	cmd.Stdout, cmd.Stderr = out, out
	if err := b.Children.Start(cmd); err != nil {
		return nil, fmt.Errorf("trace (Debian package strace): %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- b.Children.Wait(cmd) }()
	stop := func() error {
		cmd.Process.Signal(syscall.SIGINT)
		select {
		case <-ended:
			return nil
		case <-time.After(detachTimeout):
			cmd.Process.Kill()
			<-ended
			return fmt.Errorf("trace: strace has not let go of the master within %v", detachTimeout)
		}
	}
	if err := attached(ctx, pid, cmd.Process.Pid, ended); err != nil {
		select {
		case ended <- nil: // it has ended already; stop must not wait for it
		default:
		}
		stop()
		words, _ := os.ReadFile(out.Name())
		return nil, fmt.Errorf("trace: %w: %.200s", err, strings.TrimSpace(string(words)))
	}
	threads, err := tids(pid)
	if err == nil {
		err = load()
	}
	if err = errors.Join(err, stop()); err != nil {
		return nil, err
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("trace: %w", err)
	}
	defer f.Close()
	return parse(f, threads)
}

// attached waits until every thread of pid has the tracer.
func attached(ctx context.Context, pid, tracer int, ended chan error) error {
	want := strconv.Itoa(tracer)
	for deadline := time.Now().Add(attachTimeout); time.Now().Before(deadline); {
		threads, err := tids(pid)
		if err != nil {
			return err
		}
		all := true
		for tid := range threads {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", pid, tid))
			_, rest, _ := strings.Cut(string(status), "TracerPid:")
			value, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
			all = all && (err != nil || value == want) // a thread may have ended
		}
		if all {
			return nil
		}
		select {
		case err := <-ended:
			return errors.Join(errors.New("strace has ended"), err)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return fmt.Errorf("strace has not attached within %v", attachTimeout)
}

// tids returns the threads of a process.
func tids(pid int) (map[int]bool, error) {
	threads, err := procfs.AllThreads(pid)
	if err != nil {
		return nil, fmt.Errorf("list threads: %w", err)
	}
	found := make(map[int]bool)
	for _, t := range threads {
		found[t.PID] = true
	}
	return found, nil
}

// traced is what a trace has: the calls of the master by count name, and those
// of its children before their exec.
type traced struct {
	calls    Counts
	children int
	inChild  int
}

// fewChildren is for how many connections a child at least stands, of a server
// that starts one for each. With fewer, the calls in a child are not counted: a
// server that keeps its processes starts one now and then.
const fewChildren = 10

// counts returns the calls of one connection, and those in one child.
func (t *traced) counts(connections int) Counts {
	c := make(Counts)
	for name, n := range t.calls {
		c[name] = n / float64(connections)
	}
	if t.children*fewChildren > connections {
		c[ChildCall] = float64(t.inChild) / float64(t.children)
	}
	return c
}

// parse counts the calls in what strace -f has written: a line for a call, which
// begins with the id of the thread. A call that another thread's line
// interrupts takes two lines, of which the second begins with "<...". threads
// are those of the master; it grows by those that they make.
func parse(r io.Reader, threads map[int]bool) (*traced, error) {
	calls := make(Counts)
	children := make(map[int]int) // calls by child
	making := make(map[int]bool)  // threads that are making a thread
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		first, rest, _ := strings.Cut(lines.Text(), " ")
		rest = strings.TrimSpace(rest)
		tid, err := strconv.Atoi(first)
		if err != nil {
			return nil, fmt.Errorf("parse trace: %.200q does not begin with a thread", lines.Text())
		}
		if strings.HasPrefix(rest, "+++") || strings.HasPrefix(rest, "---") {
			continue
		}
		if strings.HasPrefix(rest, "<...") {
			if making[tid] {
				made(threads, rest)
				delete(making, tid)
			}
			continue
		}
		name, arguments, found := strings.Cut(rest, "(")
		if !found {
			return nil, fmt.Errorf("parse trace: no call in %.200q", lines.Text())
		}
		if !threads[tid] {
			children[tid]++
			continue
		}
		if strings.HasPrefix(name, "clone") && strings.Contains(arguments, "CLONE_THREAD") {
			name = threadCall
			if strings.Contains(arguments, "<unfinished") {
				making[tid] = true
			} else {
				made(threads, arguments)
			}
		}
		if wakes(name, arguments) {
			name = wakeCall
		}
		calls[callName(name)]++
	}
	t := &traced{calls: calls, children: len(children)}
	for _, n := range children {
		t.inChild += n
	}
	return t, lines.Err()
}

// wakes reports whether a call wakes the thread that waits in the Go runtime's
// epoll_pwait, or is that one's answer: both use an eventfd.
func wakes(name, arguments string) bool {
	_, file, _ := strings.Cut(arguments, "<")
	return (name == "read" || name == "write") && strings.HasPrefix(file, "anon_inode:[eventfd]>")
}

// made adds the thread that a clone has returned: "clone(...) = 4711".
func made(threads map[int]bool, text string) {
	i := strings.LastIndex(text, "= ")
	if i < 0 {
		return
	}
	if tid, err := strconv.Atoi(strings.Fields(text[i+2:] + " ")[0]); err == nil {
		threads[tid] = true
	}
}
