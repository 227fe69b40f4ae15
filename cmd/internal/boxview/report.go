package boxview

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/preforkd/preforkd/cmd/internal/statusview"
	"github.com/preforkd/preforkd/master/config"
)

// A Missing is a key that this machine cannot give, and why.
type Missing struct {
	Key      string
	Reason   string
	Optional bool // the configuration says that it may be missing
	Implied  bool // the configuration does not ask for it: it is a default
}

// A Report is a box of a service, as it was configured and as it was made.
type Report struct {
	Service string
	Box     config.Box // as configured
	Missing []Missing
	User    User
	As      string // who has made the box, such as "root"
}

// Write writes a report in lines of at most width cells; 0 is no limit.
func (r Report) Write(w io.Writer, width int) error {
	made := r.made()
	out := bufio.NewWriter(w)
	lines := func(text ...string) {
		for _, line := range text {
			fmt.Fprintln(out, line)
		}
	}
	lines(statusview.Wrap(fmt.Sprintf("box of service %s, made and tried as %s: %s", r.Service, r.As, r.Box.Summary()), width)...)
	lines("")
	t := r.table(&made)
	lines(t.Lines(width)...)
	lines("")
	for _, row := range t.Rows {
		// The table may have cut them.
		if value := row[columnValue]; width > 0 && len(value) > longValue {
			lines(statusview.Wrap(row[columnKey]+": "+value, width)...)
		}
	}
	if list := made.SystemCallList(); len(list) > 0 && list[0] != made.SystemCalls[0] {
		name := made.SystemCalls[0]
		lines(statusview.Wrap(name+" of system-calls: "+strings.Join(list[:len(list)-len(made.SystemCalls)+1], " "), width)...)
	}
	if unset := r.unset(&made); len(unset) > 0 {
		lines(statusview.Wrap("not set: "+strings.Join(unset, ", "), width)...)
	}
	for _, text := range r.missing() {
		lines(statusview.Wrap(text, width)...)
	}
	score := Exposure(&made, r.User)
	lines(statusview.Wrap(fmt.Sprintf("exposure of service %s: %.1f of 10, %s", r.Service, score, Level(score)), width)...)
	return out.Flush()
}

// The columns of the table that are looked at again, and the width from which on a
// value may be cut on a terminal.
const (
	columnKey   = 1
	columnValue = 2
	longValue   = 20
)

// missing returns a line for each reason why keys are missing, in the order of the
// report.
func (r *Report) missing() (lines []string) {
	type reason struct{ introduction, text string }
	keys := map[reason][]string{}
	var order []reason
	for _, m := range r.Missing {
		why := reason{m.introduction(), m.Reason}
		if keys[why] == nil {
			order = append(order, why)
		}
		keys[why] = append(keys[why], m.Key)
	}
	for _, why := range order {
		lines = append(lines, why.introduction+strings.Join(keys[why], ", ")+" "+why.text)
	}
	return lines
}

// introduction begins the line about what is missing.
func (m *Missing) introduction() string {
	switch {
	case m.Optional:
		return "missing, as box.optional allows: "
	case m.Implied:
		return "missing, and only a default: "
	}
	return "MISSING: "
}

// made returns the box without what is missing.
func (r *Report) made() config.Box {
	b := r.Box
	for _, m := range r.Missing {
		b = b.Without(m.Key)
	}
	return b
}

// table returns the keys that are set or count for the score.
func (r *Report) table(made *config.Box) statusview.Table {
	t := statusview.Table{Columns: []statusview.Column{
		{Head: " "}, {Head: "KEY"}, {Head: "VALUE", Min: 10}, {Head: "BY", Drop: 1}, {Head: "FROM"}, {Head: "OPEN", Right: true},
	}}
	for _, s := range made.Settings() {
		w, weighed := weightOf(s.Name)
		missing := r.isMissing(s.Name)
		if !weighed && !missing && !made.Asks(s.Name) {
			continue
		}
		mark, open := "✓", ""
		if weighed {
			points := w.Points * w.open(made, r.User)
			open = fmt.Sprintf("%.1f", points)
			if points > 0 {
				mark = "✗"
			}
		}
		from := "key"
		switch {
		case missing:
			mark, from = "✗", "missing"
		case s.FromPreset:
			from = string(made.Preset)
		}
		t.Rows = append(t.Rows, []string{mark, s.Name, shown(s), mechanism(s.Name), from, open})
	}
	return t
}

// unset returns the keys that are neither set nor count for the score.
func (r *Report) unset(made *config.Box) (names []string) {
	for _, s := range made.Settings() {
		if _, weighed := weightOf(s.Name); !weighed && !r.isMissing(s.Name) && !made.Asks(s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

func (r *Report) isMissing(key string) bool {
	return slices.ContainsFunc(r.Missing, func(m Missing) bool { return m.Key == key })
}

func weightOf(key string) (Weight, bool) {
	i := slices.IndexFunc(Weights, func(w Weight) bool { return w.Key == key })
	if i < 0 {
		return Weight{}, false
	}
	return Weights[i], true
}

// shown returns a value for people. An empty list means everything for one key, and
// nothing for another.
func shown(s config.BoxSetting) string {
	switch {
	case s.Value != "":
		return s.Value
	case s.Name == "system-calls":
		return "all"
	}
	return "none"
}

// mechanism returns what carries a key out.
func mechanism(key string) string {
	for _, m := range mechanisms {
		for _, k := range m.keys {
			if k == key || strings.HasSuffix(k, "-") && strings.HasPrefix(key, k) {
				return m.name
			}
		}
	}
	return ""
}

// mechanisms lists what carries keys out. A key that ends with "-" stands for all
// that begin with it.
var mechanisms = []struct {
	name string
	keys []string
}{
	{"no_new_privs", []string{"no-new-privileges"}},
	{"capability sets", []string{"capabilities"}},
	{"seccomp", []string{"system-calls", "restrict-", "lock-personality", "memory-deny-write-execute"}},
	{"net namespace", []string{"private-network"}},
	{"ipc namespace", []string{"private-ipc"}},
	{"uts namespace", []string{"protect-hostname"}},
	{"pid namespace", []string{"private-pids"}},
	{"own mount", []string{"private-tmp"}},
	{"mounts", []string{"protect-", "private-devices", "read-write-paths", "read-only-paths", "inaccessible-paths", "bind-paths", "root-directory", "temporary-file-system"}},
	{"uid pool", []string{"dynamic-user"}},
	{"rlimit", []string{"limit-"}},
	{"the master", []string{"cpu-time-max"}},
	{"setpriority", []string{"nice"}},
	{"affinity", []string{"cpu-affinity"}},
	{"ioprio", []string{"io-class"}},
	{"cgroup", []string{"memory-", "tasks-max", "cpu-", "io-", "service-"}},
}
