package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The control channel carries these messages, one to a datagram. A worker that
// was spawned for its connection finds the assignment waiting:
//
//	master                                                worker
//	  |  assignment                                          |
//	  |----------------------------------------------------->|  sent before the worker exists
//	  |                                                      |  serves fd 3
//	  |  drain                                               |
//	  |----------------------------------------------------->|  perhaps: come to an end
//	  |  report                                              |
//	  |<-----------------------------------------------------|  then it exits
//
// A spare is started with nothing on fd 3. It takes connections one after the
// other for as long as the assignment says that more may come:
//
//	|  ready                                               |
//	|<-----------------------------------------------------|  again for each connection
//	|  assignment, with the connection (SCM_RIGHTS)        |
//	|----------------------------------------------------->|
//	|  taken                                               |
//	|<-----------------------------------------------------|  before the first byte is read
//	|  report                                              |
//	|<-----------------------------------------------------|
//
// Until it has read "taken", the master holds a copy of the connection: a spare
// that dies sooner has not touched it, and it goes to another. End of file
// means that there is nothing more to do, because the master is gone or because
// it has too many spares; a connection under way is served to its end.
//
// Every message starts with the same eight bytes, integers in little endian
// (both ends are always the same machine, but not always the same compiler):
//
//	offset  size  field
//	     0     2  magic, "pf"
//	     2     1  protocol version (Protocol)
//	     3     1  type
//	     4     4  length of the body that follows
//
// The socket keeps datagram boundaries, so the length is redundant; it is
// checked, because a message that disagrees with itself comes from a bug.
type Type uint8

// The message types. Numbers are never used again for something else.
const (
	TypeAssignment Type = 1 // master to worker: serve this connection
	TypeReport     Type = 2 // worker to master: how it went
	TypeReady      Type = 3 // worker to master: give me a connection; no body
	TypeTaken      Type = 4 // worker to master: the connection is mine; no body
	TypeDrain      Type = 5 // master to worker: come to an end; no body
)

func (t Type) String() string {
	switch t {
	case TypeAssignment:
		return "assignment"
	case TypeReport:
		return "report"
	case TypeReady:
		return "ready"
	case TypeTaken:
		return "taken"
	case TypeDrain:
		return "drain"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

const (
	magic0, magic1 = 'p', 'f'
	headerSize     = 8

	// MaxMessage bounds a message, header included, in bytes. It is far above
	// what any message needs and far below a socket's default send buffer, so
	// that sending one on a fresh channel cannot block.
	MaxMessage = 16 << 10
)

var (
	// ErrVersion reports a message of another protocol version.
	ErrVersion = errors.New("other protocol version")
	// ErrMalformed reports bytes that are no message of this protocol.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge reports a message that does not fit into MaxMessage.
	ErrTooLarge = errors.New("message larger than MaxMessage")
)

// appendHeader appends a header whose length setLength fills in.
func appendHeader(dst []byte, t Type) []byte {
	return append(dst, magic0, magic1, Protocol, byte(t), 0, 0, 0, 0)
}

// setLength completes the message that is the whole of msg.
func setLength(msg []byte) error {
	if len(msg) > MaxMessage {
		return ErrTooLarge
	}
	binary.LittleEndian.PutUint32(msg[4:], uint32(len(msg)-headerSize))
	return nil
}

// The messages without a body, encoded. They must not be changed. (Written out,
// so that the compiler lays them down and no worker builds them at its start.)
var (
	Ready = []byte{magic0, magic1, Protocol, byte(TypeReady), 0, 0, 0, 0}
	Taken = []byte{magic0, magic1, Protocol, byte(TypeTaken), 0, 0, 0, 0}
	Drain = []byte{magic0, magic1, Protocol, byte(TypeDrain), 0, 0, 0, 0}
)

// Parse checks the header of one whole datagram and returns the message's type
// and body. The body aliases datagram.
//
// The error wraps ErrVersion when the header is one of preforkd's but of
// another version, and ErrMalformed for everything else that is wrong.
func Parse(datagram []byte) (Type, []byte, error) {
	if len(datagram) < headerSize {
		return 0, nil, fmt.Errorf("%w: %d bytes, a header has %d", ErrMalformed, len(datagram), headerSize)
	}
	if datagram[0] != magic0 || datagram[1] != magic1 {
		return 0, nil, fmt.Errorf("%w: starts with %q", ErrMalformed, datagram[:2])
	}
	if v := datagram[2]; v != Protocol {
		return 0, nil, fmt.Errorf("%w: %d, this side speaks %d", ErrVersion, v, Protocol)
	}
	body := datagram[headerSize:]
	if n := binary.LittleEndian.Uint32(datagram[4:]); uint64(n) != uint64(len(body)) {
		return 0, nil, fmt.Errorf("%w: says %d bytes of body, has %d", ErrMalformed, n, len(body))
	}
	switch t := Type(datagram[3]); t {
	case TypeReady, TypeTaken, TypeDrain:
		if len(body) > 0 {
			return 0, nil, fmt.Errorf("%w: %v with %d bytes too many", ErrMalformed, t, len(body))
		}
	}
	return Type(datagram[3]), body, nil
}

// A decoder takes fields off the front of a message's body. The first field
// that does not fit sets bad; everything taken after that is zero. It never
// allocates more than the body holds.
type decoder struct {
	body []byte
	bad  bool
}

func (d *decoder) take(n int) []byte {
	if d.bad || n > len(d.body) {
		d.bad = true
		return nil
	}
	field := d.body[:n]
	d.body = d.body[n:]
	return field
}

func (d *decoder) bool() bool {
	if b := d.take(1); b != nil {
		d.bad = d.bad || b[0] > 1
		return b[0] == 1
	}
	return false
}

func (d *decoder) uint16() uint16 {
	if b := d.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if b := d.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) string() string {
	return string(d.take(int(d.uint16())))
}

// pairs decodes what appendPairs has encoded.
func (d *decoder) pairs() []Pair {
	var pairs []Pair
	for n := d.uint16(); n > 0 && !d.bad; n-- {
		pairs = append(pairs, Pair{Key: d.string(), Value: d.string()})
	}
	return pairs
}

// end reports whether the whole body was understood: nothing missing, nothing left.
func (d *decoder) end(t Type) error {
	if d.bad {
		return fmt.Errorf("%w: %v cut short", ErrMalformed, t)
	}
	if len(d.body) > 0 {
		return fmt.Errorf("%w: %v with %d bytes too many", ErrMalformed, t, len(d.body))
	}
	return nil
}

// appendString appends a length and the string. A string that the length
// cannot express makes the message too large for setLength as well.
func appendString(dst []byte, s string) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(min(len(s), 1<<16-1)))
	return append(dst, s...)
}

// appendPairs appends a count and the pairs.
func appendPairs(dst []byte, pairs []Pair) []byte {
	dst = binary.LittleEndian.AppendUint16(dst, uint16(min(len(pairs), 1<<16-1)))
	for _, p := range pairs {
		dst = appendString(appendString(dst, p.Key), p.Value)
	}
	return dst
}

// A Pair is a key and its value: one of a handler's settings, or one of the
// values of a report.
type Pair struct{ Key, Value string }
