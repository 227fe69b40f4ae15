package top

import (
	"context"
	"fmt"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// A model is all that top knows. Bubble Tea's loop owns it.
type model struct {
	ctx      context.Context // of looks and kills
	source   Source
	interval time.Duration

	width, height int

	// The last look that was answered, what has changed since the one before,
	// and why the last one was not answered.
	status control.Status
	looked bool
	rates  rates
	err    error

	// A look is followed by the next one, but while it is paused by none. One
	// that has begun before a pause does not count after it.
	paused bool
	round  int // how often it was paused or resumed

	// Which connections are shown, and in which order.
	sort    sortKey
	reverse bool
	filter  string
	typing  bool   // the filter is being typed
	service string // only this service's; "" for all
	rows    []control.Connection

	// The row that keys act on. It is the one of a connection, wherever that
	// moves, or with selected == "" the first one, whichever that is.
	selected string
	cursor   int // its index in rows
	offset   int // of the first row on the screen

	confirm *kill  // a kill that waits for a yes
	notice  string // what became of the last one
}

// A kill is a signal for a connection.
type kill struct {
	connection control.Connection
	signal     string
}

// The messages of the loop's commands.
type (
	looked struct {
		round  int
		status control.Status
		err    error
	}
	timeToLook struct{ round int }
	killed     struct {
		kill
		err error
	}
)

func newModel(ctx context.Context, source Source, interval time.Duration) *model {
	m := &model{ctx: ctx, source: source, interval: interval, sort: byCPU}
	m.resize(0, 0)
	return m
}

func (m *model) Init() tea.Cmd { return m.look() }

// look returns the command that asks for a status.
func (m *model) look() tea.Cmd {
	parent, source, round := m.ctx, m.source, m.round
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(parent, patience)
		defer cancel()
		status, err := source.Status(ctx)
		return looked{round, status, err}
	}
}

// Update takes a message in.
func (m *model) Update(message tea.Msg) (tea.Model, tea.Cmd) {
	switch message := message.(type) {
	case tea.WindowSizeMsg:
		m.resize(message.Width, message.Height)
	case tea.KeyPressMsg:
		return m, m.press(message)
	case tea.PasteMsg:
		if m.typing {
			m.setFilter(m.filter + message.Content)
		}
	case looked:
		if message.round != m.round {
			return m, nil
		}
		m.take(message.status, message.err)
		round := m.round
		return m, tea.Tick(m.interval, func(time.Time) tea.Msg { return timeToLook{round} })
	case timeToLook:
		if message.round == m.round {
			return m, m.look()
		}
	case killed:
		m.notice = fmt.Sprintf("sent SIG%s to connection %s", message.signal, human.Printable(message.connection.ID))
		if message.err != nil {
			m.notice = fmt.Sprintf("connection %s got no SIG%s: %s", human.Printable(message.connection.ID), message.signal,
				human.Printable(message.err.Error()))
		}
	}
	return m, nil
}

// resize is for a terminal of another size; one that does not know it has the
// usual one.
func (m *model) resize(width, height int) {
	if width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	m.width, m.height = width, height
}

// take takes a look in.
func (m *model) take(status control.Status, err error) {
	if m.err = err; err != nil {
		return
	}
	// A master may answer with a look that it has answered with before.
	if !m.looked || !status.Taken.Equal(m.status.Taken) {
		m.rates = ratesBetween(m.status, status)
	}
	m.status, m.looked = status, true
	m.arrange()
}

// arrange makes the rows anew and finds the selected one among them.
func (m *model) arrange() {
	m.rows = m.sorted(m.matching())
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
	// It has ended, or is not shown any more; the one that took its place is
	// as near as can be.
	m.moveTo(m.cursor)
}

// moveTo selects the row at an index, or the nearest that there is.
func (m *model) moveTo(index int) {
	m.cursor = max(0, min(index, len(m.rows)-1))
	m.selected = ""
	if m.cursor > 0 {
		m.selected = m.rows[m.cursor].ID
	}
}

// chosen is the connection that keys act on, or nil.
func (m *model) chosen() *control.Connection {
	if m.cursor >= len(m.rows) {
		return nil
	}
	return &m.rows[m.cursor]
}
