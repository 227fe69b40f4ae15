package terminal

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The lifeline is a socket pair between receiver and sender. Its end of file
// says that the other process is gone, whatever it died of; what travels over
// it is JSON, one value after the other:
//
//	receiver ── settings ──► sender     once, first
//	receiver ◄── ready ───── sender     its handlers are in place
//	receiver ── shown ─────► sender     the terminal is prepared; only when editing
//	receiver ◄── typing ──── sender     the line as typed so far; only when editing
//	receiver ◄── sending ─── sender     this line is about to be sent; only when editing
//	receiver ── shown ─────► sender     it is on the screen, so send it
//	receiver ◄── ended ───── sender     input ended and the connection is half-closed
//	receiver ◄── failed ──── sender     why it stopped; then it exits
//
// The descriptors a sender is born with; 0 is the receiver's own stdin.
const (
	fdSocket   = 3
	fdLifeline = 4
)

// settings is what the sender has to know.
type settings struct {
	QuitWord          bool
	HalfClosedTimeout time.Duration // see Session
	Introduction      []byte        // to send first
	TTY               *ttyState     // not nil: edit lines, and restore this when alone
}

type reportKind string

const (
	reportReady   reportKind = "ready"
	reportTyping  reportKind = "typing"
	reportSending reportKind = "sending"
	reportEnded   reportKind = "ended"
	reportFailed  reportKind = "failed"
)

// report is what the sender says.
type report struct {
	Kind reportKind
	Text []byte `json:",omitempty"`
}

// shown is the receiver's answer to reportReady and reportSending.
type shown struct{}

// A lifeline is one end of the pair.
type lifeline struct {
	conn net.Conn
	*json.Encoder
	*json.Decoder
}

func newLifeline(conn net.Conn) *lifeline {
	return &lifeline{conn: conn, Encoder: json.NewEncoder(conn), Decoder: json.NewDecoder(conn)}
}

// newLifelinePair returns the receiver's end and, as a file to be inherited,
// the sender's. The caller closes both.
func newLifelinePair() (*lifeline, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "lifeline"), os.NewFile(uintptr(fds[1]), "lifeline")
	defer near.Close() // FileConn made a copy
	conn, err := net.FileConn(near)
	if err != nil {
		far.Close()
		return nil, nil, fmt.Errorf("use socket pair: %w", err)
	}
	return newLifeline(conn), far, nil
}
