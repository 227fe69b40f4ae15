package ipc

import (
	"encoding/binary"
	"fmt"
)

// A Report is a worker's own account of the connection that it served.
type Report struct {
	BytesIn  uint64 // bytes read from the peer
	BytesOut uint64 // bytes handed to the kernel for the peer
	Reason   Reason // why the connection ended

	// Values are what the handler has to say beyond that. They stand in the
	// log event of the connection, below "report".
	Values []Pair
}

// Bounds of what a worker may put into the log. A key is made of lower-case
// letters, digits and '_'.
const (
	maxReason = 64   // bytes of a reason
	MaxValues = 16   // values of a report
	MaxKey    = 32   // bytes of a value's key, at least one
	MaxValue  = 1024 // bytes of a value
)

// ValueUnconfined is the key under which a built-in handler's worker says what
// of its confinement the kernel could not give it. It is absent when nothing
// was missing. It is the same for all workers of a machine, so it is worth one
// warning and no more.
const ValueUnconfined = "unconfined"

// check returns what is wrong with a report, or nil.
func (r *Report) check() error {
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

// CheckValue reports whether a key and value may stand in a report.
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

// A Reason says in one word why a connection ended. Reasons are stable: they
// stand in the log, and people search for them.
type Reason string

// The reasons that workers give.
const (
	ReasonEOF      Reason = "eof"          // the client closed, or half-closed, its side
	ReasonQuitWord Reason = "quit-word"    // the client sent the line that ends the connection
	ReasonDone     Reason = "done"         // the handler ended the connection of its own accord
	ReasonReset    Reason = "reset"        // the client reset the connection or stopped answering
	ReasonIdle     Reason = "idle-timeout" // no byte in either direction for too long
	ReasonLifetime Reason = "max-lifetime" // the connection lasted too long
	ReasonDrain    Reason = "drain"        // the handler ended it because the service stops
	ReasonPanic    Reason = "panic"        // the handler panicked; the worker's stderr says where
	ReasonError    Reason = "error"        // the handler failed; the worker's stderr says how
)

// Append appends the report as one message to dst. It fails when the report
// exceeds one of the bounds above.
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
	if err := d.end(TypeReport); err != nil {
		return Report{}, err
	}
	if err := r.check(); err != nil {
		return Report{}, fmt.Errorf("%w: report: %w", ErrMalformed, err)
	}
	return r, nil
}
