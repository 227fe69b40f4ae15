package statusview

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// Write writes a status in lines of at most width cells. A width of 0 means no limit;
// it is for an output that is no terminal. Write includes all connections, however many
// there are. The error comes from the writer.
func Write(w io.Writer, s control.Status, width int) error {
	out := bufio.NewWriter(w)
	block := func(lines ...string) {
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
	}
	block(MasterLines(s, width)...)
	block(ProblemLines(s, width)...)
	block("")
	if len(s.Services) == 0 {
		block("no services")
	} else {
		block(ServiceTable(s, nil).Lines(width)...)
		block(outcomeLines(s, width)...)
	}
	block("")
	if len(s.Connections) == 0 {
		block("no connections")
	} else {
		block(ConnectionTable(sortConnections(s.Connections), nil).Lines(width)...)
	}
	return out.Flush()
}

// MasterLines returns the lines about the master itself and about the sums of all
// services.
func MasterLines(s control.Status, width int) []string {
	m := s.Master
	who := []string{
		"preforkd " + printable(m.Version), printable(m.State),
		fmt.Sprintf("pid %d", m.PID), "up " + Seconds(m.Uptime),
	}
	if m.Generation > 1 {
		who = append(who, fmt.Sprintf("generation %d", m.Generation))
	}
	if m.Config != "" {
		who = append(who, "config "+printable(m.Config))
	}
	who = append(who, "log level "+printable(m.LogLevel))
	lines := Flow(who, "   ", width)
	if m.NotReloaded != "" {
		lines = append(lines, Wrap("not reloaded: "+printable(m.NotReloaded), width)...)
	}
	lines = append(lines, upgradeLines(s, width)...)
	lines = append(lines, Flow([]string{
		fmt.Sprintf("connections: %d live", m.Live),
		fmt.Sprintf("%d accepted", m.Accepted),
		fmt.Sprintf("%d refused", m.Refused),
		fmt.Sprintf("%d failed", m.Failed),
		fmt.Sprintf("%d reaped", m.Reaped),
	}, ", ", width)...)
	return append(lines, Flow([]string{
		"the master itself: cpu " + Seconds(m.UserTime+m.SysTime),
		"rss " + human.Size(m.RSS),
		fmt.Sprintf("%d open files", m.OpenFiles),
	}, ", ", width)...)
}

// upgradeLines returns lines about the last upgrade, and about one that has failed since.
func upgradeLines(s control.Status, width int) []string {
	last, failure := s.Master.Upgrades.Last, s.Master.Upgrades.LastFailure
	ago := func(at time.Time) string { return human.Duration(max(s.Taken.Sub(at), 0)) + " ago" }
	var lines []string
	if last != nil {
		lines = append(lines, Wrap(fmt.Sprintf("upgraded from %s to %s %s, in %s",
			printable(last.From), printable(last.To), ago(last.At), Seconds(last.Duration)), width)...)
	}
	if failure != nil && (last == nil || failure.At.After(last.At)) {
		to := ""
		if failure.To != "" {
			to = " to " + printable(failure.To)
		}
		lines = append(lines, Wrap(fmt.Sprintf("not upgraded%s %s: %s: %s",
			to, ago(failure.At), printable(failure.Step), printable(failure.Reason)), width)...)
	}
	return lines
}

// ProblemLines returns one or more lines for each reason why the master is degraded.
func ProblemLines(s control.Status, width int) []string {
	var lines []string
	for _, p := range s.Master.Problems {
		text := "PROBLEM: "
		if p.Service != "" {
			text += printable(p.Service) + ": "
		}
		lines = append(lines, Wrap(text+printable(p.Reason), width)...)
	}
	return lines
}

func boxMissing(v control.Service) []control.MissingKey {
	if v.Box == nil {
		return nil
	}
	return v.Box.Missing
}

// boxLacks returns what a box lacks, for each reason once.
func boxLacks(v control.Service) (lacks []string) {
	keys := map[string][]string{}
	var reasons []string
	for _, missing := range boxMissing(v) {
		if keys[missing.Reason] == nil {
			reasons = append(reasons, missing.Reason)
		}
		keys[missing.Reason] = append(keys[missing.Reason], printable(missing.Key))
	}
	for _, reason := range reasons {
		lacks = append(lacks, strings.Join(keys[reason], ", ")+", which "+printable(reason))
	}
	return lacks
}

// outcomeLines returns lines that split refusals and failures by their reasons, and say what boxes lack. The
// table of services has only the sums.
func outcomeLines(s control.Status, width int) []string {
	var lines []string
	for _, v := range sortServices(s) {
		if reasons := formatCounts(v.RefusedByReason); reasons != "" {
			lines = append(lines, Wrap(printable(v.Name)+" refused: "+reasons, width)...)
		}
		if causes := formatCounts(v.FailedByCause); causes != "" {
			lines = append(lines, Wrap(printable(v.Name)+" failed: "+causes, width)...)
		}
		for _, lack := range boxLacks(v) {
			lines = append(lines, Wrap(printable(v.Name)+" box lacks "+lack, width)...)
		}
		if v.Penalized > 0 {
			lines = append(lines, Wrap(fmt.Sprintf("%s penalizes %d of %d sources", printable(v.Name), v.Penalized, v.Sources), width)...)
		}
	}
	return lines
}
