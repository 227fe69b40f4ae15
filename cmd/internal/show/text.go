package show

import (
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/preforkd/preforkd/master/human"
)

// cells knows how many cells a character takes. Ambiguous characters take one,
// as in every terminal that is not set up otherwise.
var cells = runewidth.Condition{StrictEmojiNeutral: true}

// ellipsis stands for what was cut off.
const ellipsis = "…"

// Width returns how many cells a printable text takes.
func Width(s string) int {
	width := 0
	for _, r := range s {
		width += cells.RuneWidth(r)
	}
	return width
}

// Cut returns as much of a printable text as fits into width cells, with an
// ellipsis where something is missing. A width of 0 is no limit.
func Cut(s string, width int) string {
	if width <= 0 || Width(s) <= width {
		return s
	}
	at := 0
	for i, r := range s {
		at += cells.RuneWidth(r)
		if at > width-1 {
			return s[:i] + ellipsis
		}
	}
	return s
}

// pad fills a text up to width cells, on its left or on its right.
func pad(s string, width int, left bool) string {
	blanks := strings.Repeat(" ", max(0, width-Width(s)))
	if left {
		return blanks + s
	}
	return s + blanks
}

// Flow sets parts one after the other, with a gap between them, and begins a
// new line where the next one would not fit. What alone is too wide is cut.
func Flow(parts []string, gap string, width int) []string {
	var lines []string
	line := ""
	for _, part := range parts {
		switch {
		case line == "":
			line = part
		case width > 0 && Width(line)+Width(gap)+Width(part) > width:
			lines = append(lines, Cut(line, width))
			line = part
		default:
			line += gap + part
		}
	}
	if line != "" {
		lines = append(lines, Cut(line, width))
	}
	return lines
}

// clean makes a text from elsewhere safe to print.
func clean(s string) string { return human.Printable(s) }

// Wrap breaks a text into lines at its blanks. The second line and those after
// it are indented.
func Wrap(s string, width int) []string {
	const indent = "    "
	inner := width
	if width > 0 {
		inner = max(1, width-len(indent))
	}
	lines := Flow(strings.Fields(s), " ", inner)
	for i := range lines {
		if i > 0 {
			lines[i] = Cut(indent+lines[i], width)
		}
	}
	return lines
}
