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
}

// A Reason says in one word why a connection ended. Reasons are stable: they
// stand in the log, and people search for them.
type Reason string

// The reasons that workers give.
const (
	ReasonEOF      Reason = "eof"       // the client closed, or half-closed, its side
	ReasonQuitWord Reason = "quit-word" // the client sent the line that ends the connection
	ReasonDone     Reason = "done"      // the handler ended the connection of its own accord
	ReasonReset    Reason = "reset"     // the client reset the connection or stopped answering
	ReasonError    Reason = "error"     // the handler failed; the worker's stderr says how
)

// maxReason bounds a reason in bytes: it is written to the log as it is.
const maxReason = 64

// Append appends the report as one message to dst. It fails with ErrTooLarge
// when the reason exceeds 64 bytes.
func (r *Report) Append(dst []byte) ([]byte, error) {
	if len(r.Reason) > maxReason {
		return nil, fmt.Errorf("reason of %d bytes: %w", len(r.Reason), ErrTooLarge)
	}
	msg := appendHeader(dst, TypeReport)
	msg = binary.LittleEndian.AppendUint64(msg, r.BytesIn)
	msg = binary.LittleEndian.AppendUint64(msg, r.BytesOut)
	msg = appendString(msg, string(r.Reason))
	return msg, setLength(msg[len(dst):])
}

// DecodeReport decodes the body of a TypeReport message. Errors wrap
// ErrMalformed.
func DecodeReport(body []byte) (Report, error) {
	d := decoder{body: body}
	r := Report{BytesIn: d.uint64(), BytesOut: d.uint64(), Reason: Reason(d.string())}
	if err := d.end(TypeReport); err != nil {
		return Report{}, err
	}
	if len(r.Reason) > maxReason {
		return Report{}, fmt.Errorf("%w: reason of %d bytes, at most %d", ErrMalformed, len(r.Reason), maxReason)
	}
	return r, nil
}
