package stderr

import "bytes"

// MaxLine is the longest line, in bytes.
const MaxLine = 4096

// Lines makes lines of what is written in pieces. The zero Lines has nothing yet.
type Lines struct {
	// Wrap makes lines of MaxLine bytes of one that is longer. Without it the
	// rest of a longer line is dropped.
	Wrap bool

	line []byte // what has come of a line
	cut  bool   // bytes of it were dropped
}

// Add takes in a piece, and calls each for every line that is complete. The line
// has no newline, but may have a carriage return, and is valid during the call. cut says that its end is missing.
func (l *Lines) Add(piece []byte, each func(line []byte, cut bool)) {
	for len(piece) > 0 {
		part, rest, ended := bytes.Cut(piece, []byte("\n"))
		if room := MaxLine - len(l.line); len(part) > room {
			if l.Wrap {
				l.line = append(l.line, part[:room]...)
				piece = piece[room:]
				l.Flush(each)
				continue
			}
			part, l.cut = part[:room], true
		}
		l.line = append(l.line, part...)
		piece = rest
		if ended {
			l.complete(each)
		}
	}
}

// Pending reports whether something has come without a newline.
func (l *Lines) Pending() bool { return len(l.line) > 0 }

// Flush makes a line of what has come without a newline, if anything has.
func (l *Lines) Flush(each func(line []byte, cut bool)) {
	if len(l.line) > 0 {
		l.complete(each)
	}
}

func (l *Lines) complete(each func(line []byte, cut bool)) {
	each(l.line, l.cut)
	l.line, l.cut = l.line[:0], false
}
