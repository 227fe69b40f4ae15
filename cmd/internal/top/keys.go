package top

import (
	"context"
	"slices"
	"strings"
	"unicode"

	tea "charm.land/bubbletea/v2"
)

// press acts on a key.
func (m *model) press(key tea.KeyPressMsg) tea.Cmd {
	name := key.String()
	switch {
	case name == "ctrl+c":
		return tea.Quit
	case m.confirm != nil:
		return m.answer(name)
	case m.typing:
		m.typeFilter(name, key.Text)
		return nil
	}
	m.notice = ""
	if sort, ok := sortKeys[name]; ok {
		m.sort, m.reverse = sort, false
		m.arrange()
		return nil
	}
	switch name {
	case "q":
		return tea.Quit
	case "r":
		m.reverse = !m.reverse
		m.arrange()
	case "/":
		m.typing = true
	case "esc":
		m.setFilter("")
	case "s":
		m.nextService()
	case "space":
		return m.pause()
	case "k":
		m.ask("TERM")
	case "K":
		m.ask("KILL")
	case "up":
		m.moveTo(m.cursor - 1)
	case "down":
		m.moveTo(m.cursor + 1)
	case "pgup":
		m.moveTo(m.cursor - m.page())
	case "pgdown":
		m.moveTo(m.cursor + m.page())
	case "home":
		m.moveTo(0)
	case "end":
		m.moveTo(len(m.rows) - 1)
	}
	return nil
}

// typeFilter takes a key of a filter that is being typed.
func (m *model) typeFilter(name, text string) {
	switch name {
	case "enter":
		m.typing = false
	case "esc":
		m.typing = false
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

// maxFilter is longer than any address; more was pasted by mistake.
const maxFilter = 128

// setFilter shows only the connections that a text occurs in.
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
	m.arrange()
}

// nextService shows one service's connections, then the next one's, and after
// the last all again.
func (m *model) nextService() {
	names := []string{""}
	for _, s := range m.status.Services {
		names = append(names, s.Name)
	}
	m.service = names[(slices.Index(names, m.service)+1)%len(names)]
	m.arrange()
}

// pause keeps what is shown as it is, or looks again.
func (m *model) pause() tea.Cmd {
	m.round++
	if m.paused = !m.paused; m.paused {
		return nil
	}
	return m.look()
}

// ask asks whether to send a signal. The connection is the one that is chosen
// now, whatever the rows look like when the answer comes.
func (m *model) ask(signal string) {
	if c := m.chosen(); c != nil {
		m.confirm = &kill{*c, signal}
	}
}

// answer takes the key after the question. Only y is a yes.
func (m *model) answer(name string) tea.Cmd {
	k := *m.confirm
	m.confirm = nil
	if name != "y" {
		m.notice = "nothing was sent"
		return nil
	}
	parent, source := m.ctx, m.source
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		return killed{k, source.Kill(ctx, k.connection.ID, k.signal)}
	}
}
