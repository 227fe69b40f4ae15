package upgrade

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/ipc"
	"github.com/preforkd/preforkd/master/carry"
	"github.com/preforkd/preforkd/master/control"
)

// A Trace is what the next process of the service learns of an upgrade in which this one
// has died. It is a memfd that the service manager keeps meanwhile. The programs before
// and after the exec write into it how far they are. Its methods may be called from any
// goroutine, and those of a nil Trace do nothing.
type Trace struct {
	file *os.File

	mu sync.Mutex // guards what follows
	is traced
}

// traced is the content of a Trace: a line of JSON. It may be written by a version of the
// program and read by another, so fields may be added, and none may be taken away.
type traced struct {
	To     string    `json:"to"`
	At     time.Time `json:"at"`
	Step   Step      `json:"step"`
	Failed string    `json:"failed,omitempty"` // why Step has failed, if the way back has begun
}

// maxTrace is the most bytes that a Trace has. A write of as many is not torn by the end of
// the process: it is within a page.
const maxTrace = 4096

// maxTraced is the most bytes that a version or a reason has in a Trace, where each may
// become six (encoding/json).
const maxTraced = 256

// NewTrace returns a Trace of an upgrade to a version. The caller must close it.
func NewTrace(to string) (*Trace, error) {
	fd, err := unix.MemfdCreate("preforkd-upgrade", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	t := &Trace{file: os.NewFile(uintptr(fd), "preforkd-upgrade"), is: traced{To: shortened(to)}}
	if err := t.write(StepExport, ""); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// continueTrace returns the Trace that another program has handed over, which may be nil.
func continueTrace(h *Header, d *carry.Descriptors) (*Trace, error) {
	f, err := d.File(h.Trace, "preforkd-upgrade")
	if err != nil || f == nil {
		return nil, err
	}
	return &Trace{file: f, is: traced{To: shortened(h.To)}}, nil
}

// File returns the memfd. It stays the Trace's.
func (t *Trace) File() *os.File { return t.file }

// Close closes the memfd.
func (t *Trace) Close() {
	if t != nil {
		t.file.Close()
	}
}

// at notes that a step begins. That it cannot be noted keeps nobody from it.
func (t *Trace) at(s Step) {
	if t != nil {
		_ = t.write(s, "")
	}
}

// failed notes that the way back begins.
func (t *Trace) failed(f *Failure) {
	if t != nil {
		_ = t.write(f.Step, f.Reason)
	}
}

func (t *Trace) write(s Step, failed string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.is.At, t.is.Step, t.is.Failed = time.Now(), s, shortened(failed)
	line, err := json.Marshal(t.is)
	if err != nil {
		return err
	}
	_, err = t.file.WriteAt(append(line, '\n'), 0)
	return err
}

func shortened(text string) string { return text[:min(len(text), maxTraced)] }

// ReadTrace returns what a Trace says of an upgrade, whose process has died. The caller
// keeps the descriptor.
func ReadTrace(fd int) (*control.UpgradeFailure, error) {
	var content [maxTrace]byte
	n, err := unix.Pread(fd, content[:], 0)
	if err != nil {
		return nil, os.NewSyscallError("pread", err)
	}
	line, _, found := bytes.Cut(content[:n], []byte{'\n'})
	var is traced
	if !found {
		return nil, errors.New("not a line")
	}
	if err := json.Unmarshal(line, &is); err != nil {
		return nil, err
	}
	reason := fmt.Sprintf("its process has died, and the service manager has started %s", ipc.Version)
	if is.Failed != "" {
		reason = fmt.Sprintf("%s; on the way back, %s", OneLine(is.Failed), reason)
	}
	return &control.UpgradeFailure{At: is.At, Step: OneLine(string(is.Step)), Reason: reason, To: OneLine(is.To)}, nil
}
