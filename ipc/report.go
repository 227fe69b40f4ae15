package ipc

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A Report is the worker's statement about the connection that it served.
type Report struct {
	BytesIn  uint64 // bytes read from the peer
	BytesOut uint64 // bytes handed to the kernel for the peer
	Reason   Reason // why the connection ended

	// Values are further facts that the handler reports. The log event of the
	// connection shows them below "report".
	Values []Pair
}

// These are the bounds of what a worker may put into the log. A key consists of
// lower-case letters, digits and '_'.
const (
	MaxBytes  = math.MaxInt64 // bytes in one direction: programs that read JSON expect a signed number
	maxReason = 64            // bytes of a reason
	MaxValues = 16            // values of a report
	MaxKey    = 32            // bytes of a value's key, at least one
	MaxValue  = 1024          // bytes of a value
)

// ValueUnconfined is the key for the missing parts of a worker's confinement. A
// built-in handler's worker reports what the kernel could not provide. The key is
// absent when nothing was missing. The value is the same for all workers of a machine,
// so the master logs one warning only.
const ValueUnconfined = "unconfined"

// check returns an error when the report exceeds a bound.
func (r *Report) check() error {
	if n := max(r.BytesIn, r.BytesOut); n > MaxBytes {
		return fmt.Errorf("%d bytes in one direction, at most %d", n, uint64(MaxBytes))
	}
	if len(r.Reason) > maxReason {
		return fmt.Errorf("reason of %d bytes, at most %d", len(r.Reason), maxReason)
	}
	if len(r.Values) > MaxValues {
		return fmt.Errorf("%d values, at most %d", len(r.Values), MaxValues)
	}
	for _, v := range r.Values {
		if err := CheckValue(v.Key, v.Value); err != nil {
			return err
		}
	}
	return nil
}

// CheckValue returns an error when a key and a value must not be in a report.
func CheckValue(key, value string) error {
	if len(key) < 1 || len(key) > MaxKey {
		return fmt.Errorf("key of %d bytes, allowed are 1 to %d", len(key), MaxKey)
	}
	for _, c := range []byte(key) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' {
			return fmt.Errorf("key %q, allowed are lower-case letters, digits and '_'", key)
		}
	}
	if len(value) > MaxValue {
		return fmt.Errorf("value of %d bytes for key %s, at most %d", len(value), key, MaxValue)
	}
	return nil
}

// A Reason says in one word why a connection ended. Reasons are stable: they are in the
// log, and operators search for them.
type Reason string

// These are the reasons that workers report.
const (
	ReasonEOF      Reason = "eof"          // the client closed or half-closed its side
	ReasonQuitWord Reason = "quit-word"    // the client sent the line that ends the connection
	ReasonDone     Reason = "done"         // the handler decided to end the connection
	ReasonReset    Reason = "reset"        // the client reset the connection or stopped answering
	ReasonIdle     Reason = "idle-timeout" // no byte moved in either direction for too long
	ReasonLifetime Reason = "max-lifetime" // the connection lasted too long
	ReasonDrain    Reason = "drain"        // the handler ended the connection because the service stops
	ReasonPanic    Reason = "panic"        // the handler panicked; stderr has the stack
	ReasonError    Reason = "error"        // the handler failed; stderr has the error
)

// Append appends the report as one message to dst. Append fails when the report exceeds
// one of the bounds above.
func (r *Report) Append(dst []byte) ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	msg := appendHeader(dst, TypeReport)
	msg = binary.LittleEndian.AppendUint64(msg, r.BytesIn)
	msg = binary.LittleEndian.AppendUint64(msg, r.BytesOut)
	msg = appendString(msg, string(r.Reason))
	msg = appendPairs(msg, r.Values)
	return msg, setLength(msg[len(dst):])
}

// DecodeReport decodes the body of a TypeReport message. Errors wrap
// ErrMalformed.
func DecodeReport(body []byte) (Report, error) {
	d := decoder{body: body}
	r := Report{BytesIn: d.uint64(), BytesOut: d.uint64(), Reason: Reason(d.string()), Values: d.pairs()}
	if err := d.checkEnd(TypeReport); err != nil {
		return Report{}, err
	}
	if err := r.check(); err != nil {
		return Report{}, fmt.Errorf("%w: report: %w", ErrMalformed, err)
	}
	return r, nil
}
