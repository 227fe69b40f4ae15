package control

import (
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxSignal is the highest number of a signal, SIGRTMAX of signal(7).
const maxSignal = 64

// ParseSignal parses the name of a signal, with or without the prefix SIG, or
// its number. Its error is an *Error of kind Invalid.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 1 && n <= maxSignal {
		return unix.Signal(n), nil
	}
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, Errorf(Invalid, "signal %s: must be a name such as TERM or HUP, or a number from 1 to %d", quoted(s), maxSignal)
}

// SignalName returns the name of a signal without the prefix SIG. A signal
// without a name has its number instead.
func SignalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return strings.TrimPrefix(name, "SIG")
	}
	return strconv.Itoa(int(sig))
}

// quoted quotes a string for a message. It cuts a long one.
func quoted(s string) string {
	const limit = 80
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "..."
	}
	return strconv.Quote(s)
}
