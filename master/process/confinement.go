package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// A confinement is what keeps a process from doing what others of its user may do
// (proc_pid_status(5), user_namespaces(7)).
type confinement struct {
	permitted  uint64 // capabilities
	noNewPrivs bool
	filters    int    // of system calls
	users      string // the user namespace, in which the capabilities are; "" if it is not known
}

func confinementOf(pid string) (c confinement, err error) {
	dir := "/proc/" + pid
	text, err := os.ReadFile(dir + "/status")
	if err != nil {
		return c, err
	}
	if c.permitted, err = strconv.ParseUint(statusField(text, "CapPrm"), 16, 64); err != nil {
		return c, fmt.Errorf("%s/status: %w", dir, err)
	}
	c.noNewPrivs = statusField(text, "NoNewPrivs") == "1"
	if filters := statusField(text, "Seccomp_filters"); filters != "" {
		c.filters, err = strconv.Atoi(filters)
	} else if mode := statusField(text, "Seccomp"); mode != "" && mode != "0" {
		c.filters = 1 // at least; before Linux 5.9 nobody counts them
	}
	if err != nil {
		return c, fmt.Errorf("%s/status: %w", dir, err)
	}
	c.users, err = os.Readlink(dir + "/ns/user")
	if errors.Is(err, unix.EACCES) {
		// It may do more than this one, so it is in no namespace below (ptrace(2),
		// PTRACE_MODE_READ).
		return c, nil
	}
	return c, err
}

// MoreConfined returns in what way another process may do less than this one, or "" if it
// may do as much.
func MoreConfined(pid int) (how string, err error) {
	other, err := confinementOf(strconv.Itoa(pid))
	if err != nil {
		return "", err
	}
	own, err := confinementOf("self")
	if err != nil {
		return "", err
	}
	switch missing := own.permitted &^ other.permitted; {
	case other.users != "" && own.users != other.users:
		return "is in another user namespace", nil
	case missing != 0:
		return fmt.Sprintf("lacks capabilities (%#x)", missing), nil
	case other.noNewPrivs && !own.noNewPrivs:
		return "has no_new_privs", nil
	case other.filters > own.filters:
		return "has a filter of system calls", nil
	}
	return "", nil
}
