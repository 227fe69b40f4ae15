package ipc

import (
	"encoding/binary"
	"time"
)

// An Assignment tells a worker which connection it serves.
type Assignment struct {
	Connection string // unique id, as in the log and in EnvConnection
	Service    string // name of the service
	Peer       string // the client, "ip:port" or a unix path, as in the log
	Local      string // the address the client connected to
	Limits     Limits
	Settings   []Pair // the handler's own settings, by ascending key

	// Environment is the environment of a program that a spare executes, as name=value.
	// It is empty for all other workers: they were started with their environment.
	Environment []string

	// Reusable says that another connection may follow this one. The worker then reports,
	// sends "ready" again and waits. Without it the worker reports and exits.
	Reusable bool
}

// Limits bounds a connection. Zero means no limit. Both limits have a resolution of one
// millisecond.
type Limits struct {
	Idle     time.Duration // maximum time without a byte in either direction
	Lifetime time.Duration // maximum time from the assignment on
}

// Setting returns the value of a key, or "" when the key is not set.
func (a *Assignment) Setting(key string) string {
	for _, s := range a.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// Append appends the assignment as one message to dst. It fails with
// ErrTooLarge when the message would exceed MaxMessage.
func (a *Assignment) Append(dst []byte) ([]byte, error) {
	msg := appendHeader(dst, TypeAssignment)
	reusable := byte(0)
	if a.Reusable {
		reusable = 1
	}
	msg = append(msg, reusable)
	msg = appendMilliseconds(msg, a.Limits.Idle)
	msg = appendMilliseconds(msg, a.Limits.Lifetime)
	for _, s := range []string{a.Connection, a.Service, a.Peer, a.Local} {
		msg = appendString(msg, s)
	}
	msg = appendPairs(msg, a.Settings)
	msg = binary.LittleEndian.AppendUint16(msg, uint16(min(len(a.Environment), 1<<16-1)))
	for _, s := range a.Environment {
		msg = appendString(msg, s)
	}
	return msg, setLength(msg[len(dst):])
}

// DecodeAssignment decodes the body of a TypeAssignment message. Errors wrap
// ErrMalformed.
func DecodeAssignment(body []byte) (Assignment, error) {
	d := decoder{body: body}
	a := Assignment{
		Reusable:   d.bool(),
		Limits:     Limits{Idle: d.milliseconds(), Lifetime: d.milliseconds()},
		Connection: d.string(),
		Service:    d.string(),
		Peer:       d.string(),
		Local:      d.string(),
		Settings:   d.pairs(),
	}
	for n := d.uint16(); n > 0 && !d.failed; n-- {
		a.Environment = append(a.Environment, d.string())
	}
	if err := d.checkEnd(TypeAssignment); err != nil {
		return Assignment{}, err
	}
	return a, nil
}

// maxMilliseconds is the longest time that a time.Duration can hold, in milliseconds.
const maxMilliseconds = uint64(1<<63-1) / uint64(time.Millisecond)

func appendMilliseconds(dst []byte, d time.Duration) []byte {
	d = max(d, 0)
	ms := uint64(d / time.Millisecond)
	if d%time.Millisecond > 0 && ms < maxMilliseconds {
		ms++ // a limit below one millisecond must not become "no limit"
	}
	return binary.LittleEndian.AppendUint64(dst, ms)
}

func (d *decoder) milliseconds() time.Duration {
	ms := d.uint64()
	d.failed = d.failed || ms > maxMilliseconds
	return time.Duration(ms) * time.Millisecond
}
