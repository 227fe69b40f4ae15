package show

import (
	"slices"
	"strings"
)

// A Column is a column of a table. Where the terminal is too narrow, columns
// with a Min are cut first, the widest before others, and then columns with a
// Drop are left out, the highest first and equal ones together. What is still
// too wide is cut off.
type Column struct {
	Head  string
	Right bool // for numbers: aligned at the right
	Min   int  // how narrow it may become; 0 for a column that is never cut
	Drop  int  // 0 for a column that is never left out
}

// A Table is rows of cells under headings. A cell without a text is shown as a
// dash, a column in which no cell has one not at all.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// gap stands between two columns.
const gap = "  "

// Lines returns the heading and the rows, none wider than width; with a width
// of 0 as wide as they are.
func (t Table) Lines(width int) []string {
	shown := t.filled()
	natural := t.widths(shown)
	widths := fit(t.Columns, shown, natural, width)
	for width > 0 && total(widths, shown) > width {
		highest := 0
		for _, i := range shown {
			highest = max(highest, t.Columns[i].Drop)
		}
		if highest == 0 {
			break
		}
		shown = slices.DeleteFunc(shown, func(i int) bool { return t.Columns[i].Drop == highest })
		widths = fit(t.Columns, shown, natural, width)
	}
	lines := make([]string, 0, len(t.Rows)+1)
	heads := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		heads[i] = c.Head
	}
	for i, row := range append([][]string{heads}, t.Rows...) {
		var line strings.Builder
		for n, column := range shown {
			if n > 0 {
				line.WriteString(gap)
			}
			text := row[column]
			if text == "" && i > 0 {
				text = "-"
			}
			line.WriteString(pad(Cut(text, widths[column]), widths[column], t.Columns[column].Right))
		}
		lines = append(lines, Cut(strings.TrimRight(line.String(), " "), width))
	}
	return lines
}

// filled returns the columns that have something to show. A table without rows
// shows them all.
func (t Table) filled() []int {
	var shown []int
	for i := range t.Columns {
		if len(t.Rows) == 0 || slices.ContainsFunc(t.Rows, func(row []string) bool { return row[i] != "" }) {
			shown = append(shown, i)
		}
	}
	return shown
}

// widths returns how wide every column would like to be.
func (t Table) widths(shown []int) []int {
	widths := make([]int, len(t.Columns))
	for _, i := range shown {
		widths[i] = Width(t.Columns[i].Head)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	return widths
}

// total returns how wide a line is.
func total(widths, shown []int) int {
	sum := len(gap) * max(0, len(shown)-1)
	for _, i := range shown {
		sum += widths[i]
	}
	return sum
}

// fit cuts the columns that may be cut, the widest first, until the line fits
// or none can become narrower.
func fit(columns []Column, shown, natural []int, width int) []int {
	widths := slices.Clone(natural)
	for excess := total(widths, shown) - width; width > 0 && excess > 0; excess-- {
		widest := -1
		for _, i := range shown {
			if least := columns[i].Min; least > 0 && widths[i] > least && (widest < 0 || widths[i] > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}
