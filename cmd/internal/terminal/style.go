package terminal

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Colours as ECMA-48 sequences (SGR) that every terminal with colours knows.
const (
	ownColour  = "\x1b[32m" // green
	peerColour = "\x1b[36m" // cyan
	resetStyle = "\x1b[0m"
)

// A style is how the two sides are told apart: by what stands before their
// lines and, unless the user asked for none, by its colour.
type style struct {
	own, peer string // what stands before a line, safe to print; peer may be ""
	colour    bool
	dumb      bool // the terminal understands no escape sequences at all
}

// newStyle looks at the environment: NO_COLOR (no-color.org) and TERM.
func newStyle(own, peer string, getenv func(string) string) style {
	dumb := getenv("TERM") == "dumb"
	return style{own: own, peer: peer, dumb: dumb, colour: !dumb && getenv("NO_COLOR") == ""}
}

func (s style) paint(colour, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return colour + text + resetStyle
}

// maxName is how long a name may be, in characters.
const maxName = 32

// CheckName returns what is wrong with a name for a chat: it has to fit before
// a line, and must not be taken for anything else that stands there.
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

// Introduction is the line that tells the peer a name. It is an ordinary line,
// so that a peer without this program reads it just as well.
func Introduction(name string) string { return "* " + name + " is here\n" }

// An introducer looks for an introduction in the first line of a stream. Its
// zero value expects one.
type introducer struct {
	held []byte
	done bool
}

// take returns what is to be shown of p, and the name if p completed an
// introduction. Bytes that may yet be part of one are held back.
func (i *introducer) take(p []byte) (show []byte, name string) {
	if i.done {
		return p, ""
	}
	i.held = append(i.held, p...)
	const longest = len("* ") + maxName*utf8.UTFMax + len(" is here\n")
	line, rest, complete := strings.Cut(string(i.held), "\n")
	possible := strings.HasPrefix(line, "* ") || strings.HasPrefix("* ", line)
	if !complete && possible && len(i.held) < longest {
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

// flush returns what is held back, for the end of the stream.
func (i *introducer) flush() []byte {
	i.done = true
	held := i.held
	i.held = nil
	return held
}

// usable reports whether a peer may go by a name: not by the one that stands
// before one's own lines.
func usable(name, own string) bool {
	return !strings.EqualFold(name, own) && !strings.EqualFold(name, "you")
}
