package report

import (
	"fmt"
	"html"
	"strings"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

// A panel of the chart shows one metric of one scenario.
type panel struct {
	scenario string
	metric   result.Metric
	title    string
}

var panels = []panel{
	{"closed1", result.LatencyP50, "Median latency of a connection, 1 client (microseconds)"},
	{"closed16", result.Rate, "Connections per second, 16 clients"},
	{"closed16", result.CPU, "CPU time per connection, 16 clients (ms)"},
	{"open", result.LatencyP99, "Latency at a fixed rate, 99 % (microseconds)"},
	{"bulk", result.Throughput, "One stream echoed (MiB/s)"},
	{"idle", result.Memory, "Memory of an idle connection, PSS (KiB)"},
}

// Sizes of the chart, in pixels.
const (
	chartWidth  = 760
	labelWidth  = 150
	valueWidth  = 80
	barHeight   = 14
	rowHeight   = 20
	titleHeight = 34
	footHeight  = 40
)

// The colours stand on light and on dark ground alike: the text has a contrast
// of at least 4 to 1 on white and on near-black, and readers that say which
// ground they have get more.
const chartStyle = `
text{font-family:sans-serif;font-size:12px;fill:#737b85}
.title{font-size:13px;font-weight:bold}
.ours{fill:#2f81d0}.peer{fill:#9aa3ad}.spread{stroke:#737b85;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#b4bcc6}.spread{stroke:#d0d7de}.peer{fill:#6e7781}}
@media(prefers-color-scheme:light){text{fill:#3b424a}.spread{stroke:#3b424a}}
`

// Chart returns the record as an SVG image that needs nothing else: no script,
// no font, no other file. Bars are medians, the lines on them quartiles.
func Chart(r *result.Record) string {
	var body strings.Builder
	y := 8
	for _, p := range panels {
		y = drawPanel(&body, r, p, y)
	}
	foot := []string{
		"Bars are medians, lines on them quartiles; preforkd in blue. One run on one machine:",
		fmt.Sprintf("%d x %s, Linux %s, %s", r.Machine.Cores, r.Machine.CPU, r.Machine.Kernel, r.Started.Format("2006-01-02")),
	}
	for i, line := range foot {
		fmt.Fprintf(&body, "<text x=\"8\" y=\"%d\">%s</text>\n", y+16+16*i, html.EscapeString(line))
	}
	y += footHeight
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-label="preforkd compared with other servers">
<style>%[3]s</style>
%[4]s</svg>
`, chartWidth, y, chartStyle, body.String())
}

// drawPanel draws one panel from y downwards and returns where the next
// begins. A metric that nobody has draws nothing.
func drawPanel(w *strings.Builder, r *result.Record, p panel, y int) int {
	type bar struct {
		name string
		result.Summary
	}
	var bars []bar
	longest := 0.0
	for _, s := range r.Servers {
		if summary := r.Summary(p.scenario, s.Name, p.metric); summary.N > 0 {
			bars = append(bars, bar{s.Name, summary})
			longest = max(longest, summary.High)
		}
	}
	if len(bars) == 0 || longest <= 0 {
		return y
	}
	better := "more is better"
	if p.metric.LowerIsBetter() {
		better = "less is better"
	}
	fmt.Fprintf(w, "<text class=\"title\" x=\"8\" y=\"%d\">%s, %s</text>\n", y+titleHeight-14, html.EscapeString(p.title), better)
	y += titleHeight
	scale := float64(chartWidth-labelWidth-valueWidth) / longest
	for _, b := range bars {
		class := "peer"
		if strings.HasPrefix(b.name, "preforkd") {
			class = "ours"
		}
		x := func(v float64) float64 { return labelWidth + max(v, 0)*scale }
		middle := y + barHeight/2
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n", labelWidth-8, y+barHeight-3, html.EscapeString(b.name))
		fmt.Fprintf(w, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\"/>\n", class, labelWidth, y, max(b.Median, 0)*scale, barHeight)
		if b.N > 1 {
			fmt.Fprintf(w, "<line class=\"spread\" x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\"/>\n", x(b.Low), middle, x(b.High), middle)
		}
		fmt.Fprintf(w, "<text x=\"%.1f\" y=\"%d\">%s</text>\n", x(max(b.Median, b.High))+6, y+barHeight-3, value(p.metric, b.Median))
		y += rowHeight
	}
	return y + 6
}
