package show

import (
	"bufio"
	"fmt"
	"io"

	"github.com/preforkd/preforkd/master/control"
	"github.com/preforkd/preforkd/master/human"
)

// Status writes a status in lines of at most width cells; with a width of 0,
// for an output that is no terminal, as wide as they are. All connections are
// written, however many there are. The error is that of the writer.
func Status(w io.Writer, s control.Status, width int) error {
	out := bufio.NewWriter(w)
	block := func(lines ...string) {
		for _, line := range lines {
			fmt.Fprintln(out, line)
		}
	}
	block(Master(s, width)...)
	block(Problems(s, width)...)
	block("")
	if len(s.Services) == 0 {
		block("no services")
	} else {
		block(Services(s, nil).Lines(width)...)
		block(outcomes(s, width)...)
	}
	block("")
	if len(s.Connections) == 0 {
		block("no connections")
	} else {
		block(Connections(connectionsByCost(s.Connections), nil).Lines(width)...)
	}
	return out.Flush()
}

// Master returns the lines on the master itself and on all services together.
func Master(s control.Status, width int) []string {
	m := s.Master
	who := []string{
		"preforkd " + clean(m.Version), clean(m.State),
		fmt.Sprintf("pid %d", m.PID), "up " + Seconds(m.Uptime),
	}
	if m.Config != "" {
		who = append(who, "config "+clean(m.Config))
	}
	who = append(who, "log level "+clean(m.LogLevel))
	lines := Flow(who, "   ", width)
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

// Problems returns a line, or more if it is long, for each reason for which the
// master is degraded.
func Problems(s control.Status, width int) []string {
	var lines []string
	for _, p := range s.Master.Problems {
		text := "PROBLEM: "
		if p.Service != "" {
			text += clean(p.Service) + ": "
		}
		lines = append(lines, Wrap(text+clean(p.Reason), width)...)
	}
	return lines
}

// outcomes returns lines that tell apart what the table of the services has
// added up.
func outcomes(s control.Status, width int) []string {
	var lines []string
	for _, v := range servicesByTrouble(s) {
		if reasons := byNumber(v.RefusedByReason); reasons != "" {
			lines = append(lines, Wrap(clean(v.Name)+" refused: "+reasons, width)...)
		}
		if causes := byNumber(v.FailedByCause); causes != "" {
			lines = append(lines, Wrap(clean(v.Name)+" failed: "+causes, width)...)
		}
		if v.Penalized > 0 {
			lines = append(lines, Wrap(fmt.Sprintf("%s penalizes %d of %d sources", clean(v.Name), v.Penalized, v.Sources), width)...)
		}
	}
	return lines
}
