package config

import (
	"bytes"
	"errors"
	"os"
	"strconv"
	"syscall"
)

// Capabilities by number (linux/capability.h).
const (
	capSetGID = 6
	capSetUID = 7
)

// currentIdentity returns whom this process runs as.
func currentIdentity() Identity {
	return Identity{UID: uint32(os.Geteuid()), GID: uint32(os.Getegid())}
}

// canChange reports whether this process has a capability. Where that cannot
// be found out it is left to the first spawn to say so.
func canChange(capability int) bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(status, []byte("\nCapEff:\t"))
	value, _, _ := bytes.Cut(rest, []byte("\n"))
	set, err := strconv.ParseUint(string(value), 16, 64)
	return err != nil || set&(1<<capability) != 0
}

// reason returns the system's word for an error about a file that the message
// names already.
func reason(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
