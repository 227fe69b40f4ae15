package statusview

import (
	"strings"

	"github.com/mattn/go-runewidth"

	"github.com/preforkd/preforkd/master/human"
)

// cellWidths knows the width of each character in cells. A character of ambiguous width
// counts as one cell, as in every terminal with default settings.
var cellWidths = runewidth.Condition{StrictEmojiNeutral: true}

// ellipsis marks text that was cut off.
const ellipsis = "…"

// Width returns the width of a printable text in cells.
func Width(s string) int {
	width := 0
	for _, r := range s {
		width += cellWidths.RuneWidth(r)
	}
	return width
}

// Cut shortens a printable text to width cells and marks the cut with an ellipsis. A
// width of 0 means no limit.
func Cut(s string, width int) string {
	if width <= 0 || Width(s) <= width {
		return s
	}
	at := 0
	for i, r := range s {
		at += cellWidths.RuneWidth(r)
		if at > width-1 {
			return s[:i] + ellipsis
		}
	}
	return s
}

// pad fills a text with blanks up to width cells, on its left or on its right.
func pad(s string, width int, left bool) string {
	blanks := strings.Repeat(" ", max(0, width-Width(s)))
	if left {
		return blanks + s
	}
	return s + blanks
}

// Flow joins parts with a gap between them. It begins a new line before a part that
// does not fit. A part that is too wide for a line is cut.
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

// printable makes a text from outside safe to print.
func printable(s string) string { return human.Printable(s) }

// Wrap breaks a text into lines at its blanks. All lines except the first are indented.
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
