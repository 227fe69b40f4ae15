package top

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// A model is the whole state of top. Bubble Tea's loop owns it.
type model struct {
	ctx      context.Context // for status requests and kills
	source   Source
	interval time.Duration

	width, height int

	// The last status, its differences from the one before, and the error of the last
	// request.
	status    control.Status
	hasStatus bool
	rates     rates
	err       error

	// While top is paused, no request follows a status. A request that began before a
	// pause does not count after it.
	paused     bool
	generation int // number of pauses and resumes

	// These fields decide which connections are shown, and in which order.
	sort         sortKey
	reverse      bool
	filter       string
	typingFilter bool   // whether the filter is being typed
	service      string // show only this service; "" for all
	rows         []control.Connection

	// The selected row, on which keys act. selected is the id of its connection, so the
	// selection follows the connection. "" selects the first row, whatever connection
	// it has.
	selected string
	cursor   int // index of the selected row
	offset   int // index of the first row on the screen

	confirm *killRequest // a kill that waits for the answer y
	notice  string       // the result of the last kill
}

// A killRequest is a signal for a connection.
type killRequest struct {
	connection control.Connection
	signal     string
}

// These are the messages of the loop's commands.
type (
	statusMsg struct {
		generation int
		status     control.Status
		err        error
	}
	pollMsg struct{ generation int }
	killMsg struct {
		killRequest
		err error
	}
)

func newModel(ctx context.Context, source Source, interval time.Duration) *model {
	m := &model{ctx: ctx, source: source, interval: interval, sort: byCPU}
	m.resize(0, 0)
	return m
}

func (m *model) Init() tea.Cmd { return m.fetchStatus() }

// fetchStatus returns the command that requests a status.
func (m *model) fetchStatus() tea.Cmd {
	parent, source, generation := m.ctx, m.source, m.generation
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, requestTimeout)
		defer cancel()
		status, err := source.Status(ctx)
		return statusMsg{generation, status, err}
	}
}

// Update handles a message.
func (m *model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.resize(message.Width, message.Height)
	case tea.KeyPressMsg:
		return m, m.onKey(message)
	case tea.PasteMsg:
		if m.typingFilter {
			m.setFilter(m.filter + message.Content)
		}
	case statusMsg:
		if message.generation != m.generation {
			return m, nil
		}
		m.onStatus(message.status, message.err)
		generation := m.generation
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return pollMsg{generation} })
	case pollMsg:
		if message.generation == m.generation {
			return m, m.fetchStatus()
		}
	case killMsg:
		m.notice = fmt.Sprintf("sent SIG%s to connection %s", message.signal, human.Printable(message.connection.ID))
		if message.err != nil {
			m.notice = fmt.Sprintf("connection %s got no SIG%s: %s", human.Printable(message.connection.ID), message.signal,
				human.Printable(message.err.Error()))
		}
	}
	return m, nil
}

// resize sets the size of the terminal. For an unknown size it uses 80 by 24.
func (m *model) resize(width, height int) {
	if width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	m.width, m.height = width, height
}

// onStatus handles the result of a status request.
func (m *model) onStatus(status control.Status, err error) {
	if m.err = err; err != nil {
		return
	}
	// A master may return the same status twice.
	if !m.hasStatus || !status.Taken.Equal(m.status.Taken) {
		m.rates = computeRates(m.status, status)
	}
	m.status, m.hasStatus = status, true
	m.updateRows()
}

// updateRows computes the rows again and finds the selected one among them.
func (m *model) updateRows() {
	m.rows = m.sortConnections(m.matchingConnections())
	if m.selected == "" {
		m.cursor = 0
		return
	}
	for i, c := range m.rows {
		if c.ID == m.selected {
			m.cursor = i
			return
		}
	}
	// The selected connection has ended or is hidden. The row that took its place is
	// the nearest one.
	m.moveTo(m.cursor)
}

// moveTo selects the row at an index, or the nearest row.
func (m *model) moveTo(index int) {
	m.cursor = max(0, min(index, len(m.rows)-1))
	m.selected = ""
	if m.cursor > 0 {
		m.selected = m.rows[m.cursor].ID
	}
}

// selectedConnection returns the connection that keys act on, or nil.
func (m *model) selectedConnection() *control.Connection {
	if m.cursor >= len(m.rows) {
		return nil
	}
	return &m.rows[m.cursor]
}
