package terminal

// A QuitScanner finds a line that is exactly q or Q in a stream of pieces of any size.
// Its zero value is at the start of a line.
//
// The line must be complete. A q that is the last byte of a stream is data.
type QuitScanner struct {
	midLine bool // inside a line that is not the quit word
	held    byte // a q or Q at the start of a line that is held back, or 0
}

// Scan appends to dst the bytes of p that are to be sent. It reports whether the quit
// word ended the stream, and drops the bytes after it. A q that may become the quit
// word is held back until the next byte decides.
func (s *QuitScanner) Scan(dst, p []byte) (send []byte, quit bool) {
	for _, c := range p {
		switch {
		case s.held != 0 && c == '\n':
			s.held = 0
			return dst, true
		case s.held != 0:
			dst = append(dst, s.held)
			s.held, s.midLine = 0, true
		case !s.midLine && (c == 'q' || c == 'Q'):
			s.held = c
			continue
		}
		dst = append(dst, c)
		s.midLine = c != '\n'
	}
	return dst, false
}

// Flush appends the held-back byte at the end of the stream.
func (s *QuitScanner) Flush(dst []byte) []byte {
	if s.held != 0 {
		dst = append(dst, s.held)
		s.held, s.midLine = 0, true
	}
	return dst
}
