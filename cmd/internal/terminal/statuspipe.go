package terminal

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// The status pipe is a socket pair between receiver and sender. End of file says that
// the other process has ended, for any reason. The messages are JSON values, one after
// another:
//
//	receiver ── settings ───► sender     once, first
//	receiver ◄── ready ────── sender     its signal handlers are installed
//	receiver ── confirmed ──► sender     the terminal is prepared; only when editing
//	receiver ◄── typing ───── sender     the typed line so far; only when editing
//	receiver ◄── sending ──── sender     this line is about to be sent; only when editing
//	receiver ── confirmed ──► sender     the line is on the screen, so send it
//	receiver ◄── ended ────── sender     input ended and the connection is half-closed
//	receiver ◄── failed ───── sender     why it stopped; then it exits
//
// The constants are the descriptors of a new sender. Descriptor 0 is the receiver's own
// stdin.
const (
	fdSocket     = 3
	fdStatusPipe = 4
)

// senderSettings are the parameters of the sender.
type senderSettings struct {
	QuitWord          bool
	HalfClosedTimeout time.Duration // see Session
	Introduction      []byte        // text to send first
	TTY               *ttyState     // not nil: edit lines, and restore this state if the receiver dies
}

type reportKind string

const (
	reportReady   reportKind = "ready"
	reportTyping  reportKind = "typing"
	reportSending reportKind = "sending"
	reportEnded   reportKind = "ended"
	reportFailed  reportKind = "failed"
)

// report is a message of the sender.
type report struct {
	Kind reportKind
	Text []byte `json:",omitempty"`
}

// confirmation is the receiver's answer to reportReady and reportSending.
type confirmation struct{}

// A statusPipe is one end of the status pipe.
type statusPipe struct {
	conn net.Conn
	*json.Encoder
	*json.Decoder
}

func newStatusPipe(conn net.Conn) *statusPipe {
	return &statusPipe{conn: conn, Encoder: json.NewEncoder(conn), Decoder: json.NewDecoder(conn)}
}

// newStatusPipePair returns the receiver's end, and the sender's end as a file to be
// inherited. The caller closes both.
func newStatusPipePair() (*statusPipe, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("create socket pair: %w", err)
	}
	near, far := os.NewFile(uintptr(fds[0]), "status pipe"), os.NewFile(uintptr(fds[1]), "status pipe")
	defer near.Close() // FileConn duplicated the descriptor
	conn, err := net.FileConn(near)
	if err != nil {
		far.Close()
		return nil, nil, fmt.Errorf("use socket pair: %w", err)
	}
	return newStatusPipe(conn), far, nil
}
