package statusview

import (
	"slices"
	"strings"
)

// A Column is a column of a table. On a narrow terminal, columns with a Min are
// shortened first, the widest before others. Then columns with a Drop are left out, the
// highest Drop first, and columns with the same Drop together. A line that is still too
// wide is cut.
type Column struct {
	Head  string
	Right bool // aligned at the right, for numbers
	Min   int  // minimum width; 0 for a column that is never shortened
	Drop  int  // 0 for a column that is never left out
}

// A Table has rows of cells below headings. An empty cell is shown as a dash. A column
// with only empty cells is not shown.
type Table struct {
	Columns []Column
	Rows    [][]string
}

// columnGap separates two columns.
const columnGap = "  "

// Lines returns the heading and the rows, each at most width cells wide. A width of 0
// means no limit.
func (t Table) Lines(width int) []string {
	shown := t.nonEmptyColumns()
	natural := t.naturalWidths(shown)
	widths := shrinkColumns(t.Columns, shown, natural, width)
	for width > 0 && lineWidth(widths, shown) > width {
		highest := 0
		for _, i := range shown {
			highest = max(highest, t.Columns[i].Drop)
		}
		if highest == 0 {
			break
		}
		shown = slices.DeleteFunc(shown, func(i int) bool { return t.Columns[i].Drop == highest })
		widths = shrinkColumns(t.Columns, shown, natural, width)
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
				line.WriteString(columnGap)
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

// nonEmptyColumns returns the columns that have a non-empty cell. For a table without
// rows it returns all columns.
func (t Table) nonEmptyColumns() []int {
	var shown []int
	for i := range t.Columns {
		if len(t.Rows) == 0 || slices.ContainsFunc(t.Rows, func(row []string) bool { return row[i] != "" }) {
			shown = append(shown, i)
		}
	}
	return shown
}

// naturalWidths returns the width that each column needs for its longest cell.
func (t Table) naturalWidths(shown []int) []int {
	widths := make([]int, len(t.Columns))
	for _, i := range shown {
		widths[i] = Width(t.Columns[i].Head)
		for _, row := range t.Rows {
			widths[i] = max(widths[i], Width(row[i]))
		}
	}
	return widths
}

// lineWidth returns the width of a line.
func lineWidth(widths, shown []int) int {
	sum := len(columnGap) * max(0, len(shown)-1)
	for _, i := range shown {
		sum += widths[i]
	}
	return sum
}

// shrinkColumns shortens columns that have a Min, the widest first. It stops when the
// line fits or when every column has reached its Min.
func shrinkColumns(columns []Column, shown, natural []int, width int) []int {
	widths := slices.Clone(natural)
	for excess := lineWidth(widths, shown) - width; width > 0 && excess > 0; excess-- {
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
