package ledger

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A Cause is why no worker could be started. The list is closed, and the names
// are stable: they are label values of the metrics.
type Cause uint8

const (
	causeMissing     Cause = iota // the program, its interpreter or its directory is missing
	causeUnusable                 // the program is there and cannot be executed
	causeProcesses                // there may be no more processes
	causeMemory                   // there is not enough memory
	causeDescriptors              // there are not enough descriptors
	causeStopping                 // the service was being stopped
	causeOther

	causes // how many there are
)

var causeNames = [causes]string{
	"program-missing", "program-unusable", "out-of-processes", "out-of-memory", "out-of-descriptors", "stopping", "other",
}

func (c Cause) String() string { return causeNames[c] }

// CauseNames returns the names of all causes.
func CauseNames() []string { return causeNames[:] }

// ErrStopping is the error of a connection that gets no worker because the
// workers are being ended.
var ErrStopping = errors.New("the spare for it ended, and the service stops")

// CauseOf classifies the error of a spawn.
func CauseOf(err error) Cause {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		if errors.Is(err, ErrStopping) {
			return causeStopping
		}
		return causeOther
	}
	switch errno {
	case unix.ENOENT, unix.ENOTDIR:
		return causeMissing
	case unix.EACCES, unix.EPERM, unix.ENOEXEC, unix.EISDIR, unix.ELOOP, unix.ETXTBSY, unix.ELIBBAD, unix.E2BIG:
		return causeUnusable
	case unix.EAGAIN: // fork(2): a limit on processes was reached
		return causeProcesses
	case unix.ENOMEM, unix.ENOBUFS:
		return causeMemory
	case unix.EMFILE, unix.ENFILE:
		return causeDescriptors
	}
	return causeOther
}
