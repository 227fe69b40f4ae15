package terminal

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// These are colours as ECMA-48 sequences (SGR) that every terminal with colours knows.
const (
	ownColour  = "\x1b[32m" // green
	peerColour = "\x1b[36m" // cyan
	resetStyle = "\x1b[0m"
)

// A style tells the two sides apart: by the name before their lines and by its colour.
type style struct {
	own, peer string // the text before a line, safe to print; peer may be ""
	colour    bool
	dumb      bool // the terminal has no escape sequences
}

// newStyle reads the environment: NO_COLOR (no-color.org) and TERM.
func newStyle(own, peer string, getenv func(string) string) style {
	dumb := getenv("TERM") == "dumb"
	return style{own: own, peer: peer, dumb: dumb, colour: !dumb && getenv("NO_COLOR") == ""}
}

func (s style) colourize(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return colour + text + resetStyle
}

// maxName is the maximum length of a name, in characters.
const maxName = 32

// CheckName returns an error for a name that is not allowed in a chat. A name must fit
// before a line, and must not look like other text there.
func CheckName(name string) error {
	switch {
	case name == "":
		return errors.New("a name has at least one character")
	case utf8.RuneCountInString(name) > maxName:
		return fmt.Errorf("a name has at most %d characters", maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("a name holds printable characters only")
	case strings.TrimSpace(name) != name:
		return errors.New("a name neither begins nor ends with a space")
	case strings.HasPrefix(name, "*"):
		return errors.New("a name does not begin with *")
	}
	return nil
}

// Introduction returns the line that tells the peer a name. It is an ordinary line, so
// a person with another program can read it too.
func Introduction(name string) string { return "* " + name + " is here\n" }

// An introParser finds an introduction in the first line of a stream. Its zero value is
// ready for use.
type introParser struct {
	pending []byte
	done    bool
}

// take returns the part of p to show. It also returns the name when p completed an
// introduction. Bytes that may be part of an introduction are held back.
func (i *introParser) take(p []byte) (show []byte, name string) {
	if i.done {
		return p, ""
	}
	i.pending = append(i.pending, p...)
	const longest = len("* ") + maxName*utf8.UTFMax + len(" is here\n")
	line, rest, complete := strings.Cut(string(i.pending), "\n")
	possible := strings.HasPrefix(line, "* ") || strings.HasPrefix("* ", line)
	if !complete && possible && len(i.pending) < longest {
		return nil, ""
	}
	held := i.flush()
	if !complete {
		return held, ""
	}
	name, intro := strings.CutPrefix(line, "* ")
	name, here := strings.CutSuffix(name, " is here")
	if !intro || !here || CheckName(name) != nil {
		return held, ""
	}
	return []byte(rest), name
}

// flush returns the held-back bytes at the end of the stream.
func (i *introParser) flush() []byte {
	i.done = true
	held := i.pending
	i.pending = nil
	return held
}

// peerNameAllowed reports whether a peer may use a name. It must differ from the name
// before the user's own lines.
func peerNameAllowed(name, own string) bool {
	return !strings.EqualFold(name, own) && !strings.EqualFold(name, "you")
}
