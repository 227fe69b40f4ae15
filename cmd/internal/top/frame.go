package top

import (
	"fmt"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// A line is a line of a frame. Bold and reversed only emphasise the text.
type line struct {
	text           string
	bold, reversed bool
}

// These are text attributes as ECMA-48 sequences (SGR).
const (
	bold     = "\x1b[1m"
	reversed = "\x1b[7m"
	plain    = "\x1b[m"
)

// View draws the frame.
func (m *model) View() tea.View {
	var content strings.Builder
	for i, l := range m.frame() {
		if i > 0 {
			content.WriteByte('\n')
		}
		switch {
		case l.reversed:
			content.WriteString(reversed + l.text + plain)
		case l.bold:
			content.WriteString(bold + l.text + plain)
		default:
			content.WriteString(l.text)
		}
	}
	view := tea.NewView(content.String())
	view.AltScreen = true
	return view
}

// frame returns exactly as many lines as the terminal has rows. They show the master,
// the services, as many connections as fit, and the keys or a question.
func (m *model) frame() []line {
	top := m.header()
	if m.hasStatus {
		top = append(top, m.services()...)
		top = append(top, line{})
	}
	footer := m.footer()
	// Some rows are always for connections, even on a small terminal.
	const minRows = 3 // two headings and one connection
	top = top[:max(0, min(len(top), m.height-len(footer)-minRows))]
	lines := append(top, m.connections(m.height-len(footer)-len(top))...)
	for len(lines) < m.height-len(footer) {
		lines = append(lines, line{})
	}
	lines = append(lines, footer...)
	return lines[max(0, len(lines)-m.height):]
}

// header returns the lines about the master and the sums of all services.
func (m *model) header() []line {
	var lines []line
	add := func(isBold bool, texts ...string) {
		for _, text := range texts {
			lines = append(lines, line{text: text, bold: isBold})
		}
	}
	if m.err != nil {
		trouble := "NO ANSWER from the master, trying again: " + human.Printable(m.err.Error())
		if m.hasStatus {
			trouble = "NO ANSWER since " + m.status.Taken.Local().Format("15:04:05") + ", trying again: " + human.Printable(m.err.Error())
		}
		add(true, statusview.Wrap(trouble, m.width)...)
	}
	if !m.hasStatus {
		if m.err == nil {
			add(false, statusview.Cut("looking for the master", m.width))
		}
		return lines
	}
	s := m.status.Master
	who := []string{
		"preforkd " + human.Printable(s.Version), human.Printable(s.State),
		fmt.Sprintf("pid %d", s.PID), "up " + statusview.Seconds(s.Uptime),
	}
	if m.paused {
		who = append(who, "PAUSED at "+m.status.Taken.Local().Format("15:04:05"))
	}
	add(true, statusview.Flow(who, "   ", m.width)...)
	rate := func(what string, total uint64, rate float64) string {
		if !m.rates.known {
			return fmt.Sprintf("%d %s", total, what)
		}
		return fmt.Sprintf("%d %s (%s/s)", total, what, perSecond(rate))
	}
	add(false, statusview.Flow([]string{
		fmt.Sprintf("connections: %d live", s.Live),
		rate("accepted", s.Accepted, m.rates.accepted),
		rate("refused", s.Refused, m.rates.refused),
		rate("failed", s.Failed, m.rates.failed),
	}, ", ", m.width)...)
	itself := []string{"the master itself: rss " + human.Size(s.RSS), fmt.Sprintf("%d open files", s.OpenFiles)}
	if m.rates.known {
		itself = append(itself, "cpu "+percent(m.rates.cpu),
			"all connections: in "+human.Size(uint64(m.rates.in))+"/s", "out "+human.Size(uint64(m.rates.out))+"/s")
	}
	add(false, statusview.Flow(itself, ", ", m.width)...)
	add(true, statusview.ProblemLines(m.status, m.width)...)
	return append(lines, line{})
}

// services returns the table of services. It takes at most a third of the terminal,
// because the important services come first.
func (m *model) services() []line {
	table := statusview.ServiceTable(m.status, func(s control.Service) string {
		if rate, ok := m.rates.services[s.Name]; ok {
			return perSecond(rate) + "/s"
		}
		return ""
	})
	var lines []line
	for i, text := range table.Lines(m.width) {
		lines = append(lines, line{text: text, bold: i == 0})
	}
	if most := max(3, m.height/3); len(lines) > most {
		more := len(lines) - most + 1
		lines = append(lines[:most-1], line{text: statusview.Cut(fmt.Sprintf("and %d more services", more), m.width)})
	}
	return lines
}

// connections returns the table of connections in height lines. It is scrolled so that
// the selected row is visible.
func (m *model) connections(height int) []line {
	if !m.hasStatus || height <= 0 {
		return nil
	}
	heading := []string{fmt.Sprintf("%d of %d connections by %s", len(m.rows), len(m.status.Connections), m.sort)}
	if m.reverse {
		heading[0] += ", reversed"
	}
	if m.service != "" {
		heading = append(heading, "service "+human.Printable(m.service))
	}
	if m.filter != "" && !m.typingFilter {
		heading = append(heading, "with "+m.filter)
	}
	lines := []line{{text: statusview.Cut(strings.Join(heading, ", "), m.width), bold: true}}

	m.offset = scrollOffset(m.offset, m.cursor, len(m.rows), height-2)
	const marker, none = "> ", "  "
	table := statusview.ConnectionTable(m.rows, func(c control.Connection) string {
		if load, ok := m.rates.connections[c.ID]; ok {
			return percent(load)
		}
		return ""
	})
	for i, text := range table.Lines(max(1, m.width-len(marker))) {
		row := i - 1 // the first line is the heading
		switch {
		case row < 0:
			lines = append(lines, line{text: statusview.Cut(none+text, m.width), bold: true})
		case row < m.offset || row >= m.offset+height-2:
		case row == m.cursor:
			lines = append(lines, line{text: statusview.Cut(marker+text, m.width), reversed: true})
		default:
			lines = append(lines, line{text: statusview.Cut(none+text, m.width)})
		}
	}
	return lines[:min(len(lines), height)]
}

// scrollOffset returns the index of the first row to show, as near to offset as
// possible. The cursor is on the screen, and no room is left below the last row.
func scrollOffset(offset, cursor, rows, room int) int {
	room = max(room, 1)
	offset = max(min(offset, cursor), cursor-room+1)
	return max(0, min(offset, rows-room))
}

// pageSize returns how many rows a page key moves: about half the screen.
func (m *model) pageSize() int { return max(1, m.height/2) }

// keyHelp is shown at the bottom when there is no question.
var keyHelp = []string{
	"q quit", "/ filter", "s service", "k term", "K kill", "space pause",
	"a age", "c cpu", "m memory", "b bytes", "p peer", "r reverse",
}

// footer returns a question, the filter that is being typed, the result of a kill, or
// the keys.
func (m *model) footer() []line {
	switch {
	case m.confirm != nil:
		c := m.confirm.connection
		question := fmt.Sprintf("send SIG%s to connection %s (pid %d, %s)? y/n", m.confirm.signal, human.Printable(c.ID), c.PID, human.Printable(c.Peer))
		var lines []line
		for _, text := range statusview.Wrap(question, m.width) {
			lines = append(lines, line{text: text, reversed: true})
		}
		return lines
	case m.typingFilter:
		return []line{{text: statusview.Cut("filter: "+m.filter+"_", m.width), reversed: true}}
	case m.notice != "":
		return []line{{text: statusview.Cut(m.notice, m.width), bold: true}}
	}
	var lines []line
	for _, text := range statusview.Flow(keyHelp, "  ", m.width) {
		lines = append(lines, line{text: text})
	}
	return lines[:min(len(lines), max(1, m.height/8))]
}
