package terminal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
)

// ShortError reduces an error of package net to its reason. Such an error repeats the
// operation, the network and the address, which the user has given.
func ShortError(err error) error {
	var dns *net.DNSError
	var number syscall.Errno
	switch {
	case err == nil:
		return nil
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("unknown host %s", dns.Name)
	case errors.As(err, &dns) && dns.IsTimeout:
		return fmt.Errorf("no answer from the name server about %s", dns.Name)
	case errors.As(err, &dns):
		return fmt.Errorf("resolve %s: %s", dns.Name, dns.Err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return errTimeout
	case errors.As(err, &number):
		return number
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

var errTimeout = errors.New("timed out")
