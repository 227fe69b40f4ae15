package top

import (
	"context"
	"slices"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// onKey handles a key.
func (m *model) onKey(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case m.confirm != nil:
		return m.onConfirmKey(name)
	case m.typingFilter:
		m.onFilterKey(name, key.Text)
		return nil
	}
	m.notice = ""
	if sort, ok := sortKeys[name]; ok {
		m.sort, m.reverse = sort, false
		m.updateRows()
		return nil
	}
	switch name {
	case "q":
		return tea.Quit
	case "r":
		m.reverse = !m.reverse
		m.updateRows()
	case "/":
		m.typingFilter = true
	case "esc":
		m.setFilter("")
	case "s":
		m.nextService()
	case "space":
		return m.pause()
	case "k":
		m.confirmKill("TERM")
	case "K":
		m.confirmKill("KILL")
	case "up":
		m.moveTo(m.cursor - 1)
	case "down":
		m.moveTo(m.cursor + 1)
	case "pgup":
		m.moveTo(m.cursor - m.pageSize())
	case "pgdown":
		m.moveTo(m.cursor + m.pageSize())
	case "home":
		m.moveTo(0)
	case "end":
		m.moveTo(len(m.rows) - 1)
	}
	return nil
}

// onFilterKey handles a key while the filter is being typed.
func (m *model) onFilterKey(name, text string) {
	switch name {
	case "enter":
		m.typingFilter = false
	case "esc":
		m.typingFilter = false
		m.setFilter("")
	case "backspace":
		runes := []rune(m.filter)
		m.setFilter(string(runes[:max(0, len(runes)-1)]))
	case "ctrl+u":
		m.setFilter("")
	default:
		m.setFilter(m.filter + text)
	}
}

// maxFilter is longer than any address. Longer text was pasted by mistake.
const maxFilter = 128

// setFilter shows only the connections that contain a text.
func (m *model) setFilter(text string) {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, text)
	if len(text) <= maxFilter {
		m.filter = text
	}
	m.updateRows()
}

// nextService shows the connections of the next service. After the last service it
// shows all connections.
func (m *model) nextService() {
	names := []string{""}
	for _, s := range m.status.Services {
		names = append(names, s.Name)
	}
	m.service = names[(slices.Index(names, m.service)+1)%len(names)]
	m.updateRows()
}

// pause stops the updates, or resumes them.
func (m *model) pause() tea.Cmd {
	m.generation++
	if m.paused = !m.paused; m.paused {
		return nil
	}
	return m.fetchStatus()
}

// confirmKill asks whether to send a signal to the selected connection. The connection
// stays the same, even if the rows change before the answer.
func (m *model) confirmKill(signal string) {
	if c := m.selectedConnection(); c != nil {
		m.confirm = &killRequest{*c, signal}
	}
}

// onConfirmKey handles the answer to confirmKill. Only y means yes.
func (m *model) onConfirmKey(name string) tea.Cmd {
	k := *m.confirm
	m.confirm = nil
	if name != "y" {
		m.notice = "nothing was sent"
		return nil
	}
	parent, source := m.ctx, m.source
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, requestTimeout)
		defer cancel()
		return killMsg{k, source.Kill(ctx, k.connection.ID, k.signal)}
	}
}
