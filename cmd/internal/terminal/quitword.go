package terminal

// A QuitScanner looks for a line that is exactly q or Q in a stream that
// arrives in pieces of any size. Its zero value is at the start of a line.
//
// The line must be complete: a q that is the last byte of a stream is data.
type QuitScanner struct {
	inside bool // past the first byte of a line that is not a quit word
	held   byte // q or Q seen at the start of a line, not yet sent; or 0
}

// Scan appends to dst what is to be sent of p, and reports whether the quit
// word ended the stream; bytes after it are dropped. A q that may become the
// quit word is held back until the next byte decides.
func (s *QuitScanner) Scan(dst, p []byte) (send []byte, quit bool) {
	for _, c := range p {
		switch {
		case s.held != 0 && c == '\n':
			s.held = 0
			return dst, true
		case s.held != 0:
			dst = append(dst, s.held)
			s.held, s.inside = 0, true
		case !s.inside && (c == 'q' || c == 'Q'):
			s.held = c
			continue
		}
		dst = append(dst, c)
		s.inside = c != '\n'
	}
	return dst, false
}

// Flush appends the byte held back, for the end of the stream.
func (s *QuitScanner) Flush(dst []byte) []byte {
	if s.held != 0 {
		dst = append(dst, s.held)
		s.held, s.inside = 0, true
	}
	return dst
}
