package ipc

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// The control channel carries these messages, one per datagram. A worker that was
// started for its connection finds the assignment already in the channel:
//
//	master                                                worker
//	  |  assignment                                          |
//	  |----------------------------------------------------->|  sent before the worker exists
//	  |                                                      |  serves fd 3
//	  |  drain                                               |
//	  |----------------------------------------------------->|  optional: finish soon
//	  |  report                                              |
//	  |<-----------------------------------------------------|  then it exits
//
// A spare starts without a connection on fd 3. It takes one connection after another
// while each assignment says that more may follow:
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
// The master keeps a copy of the connection until it has read "taken". A spare that
// dies before that has not read from the connection, and the master gives the
// connection to another worker. End of file tells a spare that nothing is left to do:
// the master has exited, or has too many spares. A worker always serves its current
// connection to its end.
//
// A worker that is to execute another program (ExecStdio, ExecSystemd) sends "failed" in
// place of a report when it cannot, and exits with ExitExec. The exec closes its end of
// the channel, so end of file without that message says that the program runs.
//
// Every message starts with the same eight bytes. Integers are little endian: both ends
// run on the same machine, but different compilers may have built them.
//
//	offset  size  field
//	     0     2  magic, "pf"
//	     2     1  protocol version (Protocol)
//	     3     1  type
//	     4     4  length of the body that follows
//
// The socket keeps datagram boundaries, so the length is redundant. The receiver checks
// it all the same, because a wrong length shows a bug in the sender.
type Type uint8

// These are the message types. A number is never reused for another type.
const (
	TypeAssignment Type = 1 // master to worker: serve this connection
	TypeReport     Type = 2 // worker to master: result of the connection
	TypeReady      Type = 3 // worker to master: give me a connection; no body
	TypeAck        Type = 4 // worker to master: I have the connection, "taken" in logs; no body
	TypeDrain      Type = 5 // master to worker: finish soon; no body
	TypeFailed     Type = 6 // worker to master: I cannot become the program
)

func (t Type) String() string {
	switch t {
	case TypeAssignment:
		return "assignment"
	case TypeReport:
		return "report"
	case TypeReady:
		return "ready"
	case TypeAck:
		return "taken"
	case TypeDrain:
		return "drain"
	case TypeFailed:
		return "failed"
	}
	return fmt.Sprintf("type %d", uint8(t))
}

const (
	magic0, magic1 = 'p', 'f'
	headerSize     = 8

	// MaxMessage is the maximum size of a message with its header, in bytes. It is far
	// above the size of any real message. It is far below a socket's default send
	// buffer, so the first message on a new channel never blocks.
	MaxMessage = 16 << 10
)

var (
	// ErrVersion reports a message of another protocol version.
	ErrVersion = errors.New("other protocol version")
	// ErrMalformed reports bytes that are not a message of this protocol.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge reports a message that does not fit into MaxMessage.
	ErrTooLarge = errors.New("message larger than MaxMessage")
)

// appendHeader appends a header without its length. setLength sets the length.
func appendHeader(dst []byte, t Type) []byte {
	return append(dst, magic0, magic1, Protocol, byte(t), 0, 0, 0, 0)
}

// setLength writes the length of the body into the header. msg is the whole message.
func setLength(msg []byte) error {
	if len(msg) > MaxMessage {
		return ErrTooLarge
	}
	binary.LittleEndian.PutUint32(msg[4:], uint32(len(msg)-headerSize))
	return nil
}

// These are the encoded messages without a body. Nobody may change them. They are
// written as literals, so that the compiler builds them and not each worker at its
// start.
var (
	Ready = []byte{magic0, magic1, Protocol, byte(TypeReady), 0, 0, 0, 0}
	Ack   = []byte{magic0, magic1, Protocol, byte(TypeAck), 0, 0, 0, 0}
	Drain = []byte{magic0, magic1, Protocol, byte(TypeDrain), 0, 0, 0, 0}
)

// Parse checks the header of one whole datagram and returns the message's type and
// body. The body aliases datagram.
//
// The error wraps ErrVersion when the header is preforkd's but has another version. It
// wraps ErrMalformed for every other fault.
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
	case TypeReady, TypeAck, TypeDrain:
		if len(body) > 0 {
			return 0, nil, fmt.Errorf("%w: %v with %d bytes too many", ErrMalformed, t, len(body))
		}
	}
	return Type(datagram[3]), body, nil
}

// A decoder reads fields from the front of a message's body. The first field that does
// not fit sets failed, and all later fields are zero. A decoder never allocates more
// memory than the size of the body.
type decoder struct {
	body   []byte
	failed bool
}

func (d *decoder) take(n int) []byte {
	if d.failed || n > len(d.body) {
		d.failed = true
		return nil
	}
	taken := d.body[:n]
	d.body = d.body[n:]
	return taken
}

func (d *decoder) bool() bool {
	if b := d.take(1); b != nil {
		d.failed = d.failed || b[0] > 1
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

// pairs decodes the result of appendPairs.
func (d *decoder) pairs() []Pair {
	var pairs []Pair
	for n := d.uint16(); n > 0 && !d.failed; n-- {
		pairs = append(pairs, Pair{Key: d.string(), Value: d.string()})
	}
	return pairs
}

// checkEnd returns an error when a field was missing or when bytes are left over.
func (d *decoder) checkEnd(t Type) error {
	if d.failed {
		return fmt.Errorf("%w: %v cut short", ErrMalformed, t)
	}
	if len(d.body) > 0 {
		return fmt.Errorf("%w: %v with %d bytes too many", ErrMalformed, t, len(d.body))
	}
	return nil
}

// appendString appends the length of s and then s. A string that is too long for the
// length field also makes the message too large for setLength.
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

// A Pair is a key and its value. A handler's settings and the values of a report are
// Pairs.
type Pair struct{ Key, Value string }
