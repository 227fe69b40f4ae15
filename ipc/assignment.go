package ipc

import "encoding/binary"

// An Assignment tells a worker which connection it serves.
type Assignment struct {
	Connection string    // unique id, as in the log and in EnvConnection
	Service    string    // name of the service
	Peer       string    // the client, "ip:port" or a unix path, as in the log
	Local      string    // the address the client connected to
	Settings   []Setting // the handler's own settings, by ascending key
}

// A Setting is one of a handler's settings. Its meaning is the handler's.
type Setting struct{ Key, Value string }

// Setting returns the value of a key, or "" when it is not set.
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
	for _, s := range []string{a.Connection, a.Service, a.Peer, a.Local} {
		msg = appendString(msg, s)
	}
	msg = binary.LittleEndian.AppendUint16(msg, uint16(len(a.Settings)))
	for _, s := range a.Settings {
		msg = appendString(appendString(msg, s.Key), s.Value)
	}
	return msg, setLength(msg[len(dst):])
}

// DecodeAssignment decodes the body of a TypeAssignment message. Errors wrap
// ErrMalformed.
func DecodeAssignment(body []byte) (Assignment, error) {
	d := decoder{body: body}
	a := Assignment{
		Connection: d.string(),
		Service:    d.string(),
		Peer:       d.string(),
		Local:      d.string(),
	}
	for n := d.uint16(); n > 0 && !d.bad; n-- {
		a.Settings = append(a.Settings, Setting{Key: d.string(), Value: d.string()})
	}
	if err := d.end(TypeAssignment); err != nil {
		return Assignment{}, err
	}
	return a, nil
}
