package master

import (
	"errors"

	"golang.org/x/sys/unix"
)

// A cause is why no worker could be started. The list is closed, and the names
// are stable: they stand in the counters.
type cause uint8

const (
	causeMissing     cause = iota // the program, its interpreter or its directory
	causeUnusable                 // it is there and cannot be executed
	causeProcesses                // there may be no more of them
	causeMemory                   // there is not enough
	causeDescriptors              // there are not enough
	causeStopping                 // the service was being stopped
	causeOther

	causes // how many there are
)

var causeNames = [causes]string{
	"program-missing", "program-unusable", "out-of-processes", "out-of-memory", "out-of-descriptors", "stopping", "other",
}

func (c cause) String() string { return causeNames[c] }

// causeOf tells why a spawn failed.
func causeOf(err error) cause {
	errno, ok := errors.AsType[unix.Errno](err)
	if !ok {
		if errors.Is(err, errStopping) {
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
