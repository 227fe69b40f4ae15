package upgrade

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/osthread"
	"github.com/preforkd/preforkd/master/upgrade/fault"
)

// Timeout is how long a program has to answer in a rehearsal, and then to serve.
const Timeout = 10 * time.Second

// FlagRehearse is the flag of serve that makes a rehearsal of it. It is for this package
// alone and so hidden.
const FlagRehearse = "check-handover"

// rehearsedFD is the number of the memfd in a rehearsal.
const rehearsedFD = 3

// A hello is the first line that a program writes in a rehearsal.
type hello struct {
	Version string `json:"version"`
	Formats []int  `json:"formats"`
}

// An Answer is the second one: what the program would do with the State.
type Answer struct {
	Error string `json:"error,omitempty"` // why it would not serve
	Step  Step   `json:"step,omitempty"`  // at which step
}

// maxAnswer is the most bytes that are read of each line.
const maxAnswer = 1 << 20

// A Rehearsal is a program that runs as a child, to find out whether it can take over.
type Rehearsal struct {
	Version string // of the program

	back    bool
	formats []int
	memfd   *os.File
	command *exec.Cmd
	ended   chan struct{} // closed when the child has ended and all of its stderr is there
	stdin   io.WriteCloser
	lines   *bufio.Reader
	output  *os.File
	stderr  *head
}

// Rehearse starts a binary as a child with the arguments of this process, and returns
// when it has said who it is. The caller must call Run, or End. path is how errors name
// the binary. started is told the pid of the child, which whoever reaps all children may
// reap.
//
// back says that it is the program to which the process would be given back.
func Rehearse(binary *os.File, path string, back bool, started func(pid int)) (*Rehearsal, error) {
	r := &Rehearsal{back: back, stderr: &head{}, ended: make(chan struct{})}
	var err error
	if r.memfd, err = newMemfd(); err != nil {
		return nil, err
	}
	if err := r.start(binary, path); err != nil {
		r.memfd.Close()
		return nil, err
	}
	started(r.command.Process.Pid)
	var h hello
	if err := r.read(&h); err != nil {
		r.End()
		return nil, err
	}
	r.Version, r.formats = h.Version, h.Formats
	return r, nil
}

func (r *Rehearsal) start(binary *os.File, path string) error {
	output, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := &exec.Cmd{
		Path:       fmt.Sprintf("/proc/self/fd/%d", binary.Fd()),
		Args:       rehearsalArguments(os.Args),
		Stdout:     out,
		Stderr:     r.stderr,
		ExtraFiles: []*os.File{r.memfd},
	}
	if r.back {
		cmd.Env = append(os.Environ(), envFailed+"="+string(StepRehearsal)+": it is tried")
	}
	if r.stdin, err = cmd.StdinPipe(); err != nil {
		output.Close()
		return err
	}
	// A thread of its own, because this one may block signals, which a child inherits.
	if err := osthread.Run(cmd.Start); err != nil {
		output.Close()
		if pathErr, ok := errors.AsType[*os.PathError](err); ok {
			err = pathErr.Err
		}
		return fmt.Errorf("start %s: %w", path, err)
	}
	r.command, r.output, r.lines = cmd, output, bufio.NewReaderSize(output, 4096)
	go func() {
		_ = cmd.Wait() // if the loop has reaped it, this is an error, and the pidfd stays
		_ = cmd.Process.Release()
		close(r.ended)
	}()
	return nil
}

// rehearsalArguments returns the command line of a rehearsal for one of serve.
func rehearsalArguments(args []string) []string {
	at := slices.Index(args, "serve")
	if at < 0 {
		return append(slices.Clone(args), "--"+FlagRehearse)
	}
	return slices.Insert(slices.Clone(args), at+1, "--"+FlagRehearse)
}

// Format returns the format in which the State is to be: the newest that both programs
// have.
func (r *Rehearsal) Format() (int, error) { return common(Formats(), r.formats) }

// Run gives the child the State and returns what it says, or why it says nothing. It
// ends the child.
func (r *Rehearsal) Run(state []byte) (Answer, error) {
	defer r.End()
	var a Answer
	if err := writeSealed(r.memfd, state); err != nil {
		return a, err
	}
	if _, err := io.WriteString(r.stdin, "go\n"); err != nil {
		return a, fmt.Errorf("it does not take the state%s", r.stderr.quote())
	}
	return a, r.read(&a)
}

// read reads the next line of the child. It waits for Timeout at most.
func (r *Rehearsal) read(into any) error {
	if err := r.output.SetReadDeadline(time.Now().Add(Timeout)); err != nil {
		return err
	}
	line, err := readLine(r.lines)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it has said nothing for %v%s", Timeout, r.stderr.quote())
	case err == io.EOF:
		r.awaitEnd()
		return fmt.Errorf("it has ended without an answer%s", r.stderr.quote())
	case err != nil:
		return err
	}
	if err := json.Unmarshal(line, into); err != nil {
		return fmt.Errorf("it is no preforkd that can take over: it says %.80q", line)
	}
	return nil
}

func readLine(from *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		piece, err := from.ReadSlice('\n')
		line = append(line, piece...)
		switch {
		case err == nil:
			return line, nil
		case err != bufio.ErrBufferFull:
			return line, err
		case len(line) > maxAnswer:
			return nil, fmt.Errorf("it has said more than %d bytes in one line", maxAnswer)
		}
	}
}

// End ends the child, if it has not ended, and releases what the rehearsal holds. It may
// be called more than once.
func (r *Rehearsal) End() {
	_ = r.command.Process.Kill() // by its pidfd, so that it is nobody else
	r.awaitEnd()
	r.stdin.Close()
	r.output.Close()
	r.memfd.Close()
}

// awaitEnd waits for the end of the child, and not for long: something that it has
// started may keep its stderr open.
func (r *Rehearsal) awaitEnd() {
	select {
	case <-r.ended:
	case <-time.After(time.Second):
	}
}

// A head is the beginning of what a child has written to its stderr.
type head struct {
	mu    sync.Mutex // guards what follows
	bytes []byte
}

// maxHead is how many bytes are kept.
const maxHead = 1000

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bytes = append(h.bytes, p[:min(len(p), maxHead-len(h.bytes))]...)
	return len(p), nil
}

// quote returns the first line of what was written, for the end of an error.
func (h *head) quote() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	line, _, _ := bytes.Cut(bytes.TrimSpace(h.bytes), []byte{'\n'})
	if len(line) == 0 {
		return ""
	}
	return ": " + strings.TrimPrefix(string(line), "preforkd: ")
}

// A Stage is a rehearsal as the program sees it that rehearses.
type Stage struct {
	out     io.Writer
	failure *Failure
}

// Takeover returns what the program would do it with.
func (s *Stage) Takeover(h Header, state *State) *Takeover {
	return &Takeover{Header: h, State: state, Failure: s.failure}
}

// BeginRehearsal says who this program is, and returns the State that it is given.
func BeginRehearsal() (*Stage, []byte, error) {
	if err := fault.At(string(StepRehearsal)); err != nil {
		return nil, nil, err
	}
	s := &Stage{out: os.Stdout, failure: inheritedFailure()}
	if err := s.say(hello{ipc.Version, Formats()}); err != nil {
		return nil, nil, err
	}
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil || line != "go\n" {
		return nil, nil, errors.New("--" + FlagRehearse + " is for a master that is upgraded")
	}
	data, err := readSealed(rehearsedFD)
	return s, data, err
}

// Answer says what the program would do.
func (s *Stage) Answer(a Answer) error { return s.say(a) }

func (s *Stage) say(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = s.out.Write(append(line, '\n'))
	return err
}
