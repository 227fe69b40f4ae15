package report

import (
	"encoding/xml"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/result"
)

func record() *result.Record {
	r := &result.Record{
		Machine: result.Machine{CPU: `<Fast> & "loud"`, Cores: 2},
		Scenarios: []result.Scenario{{
			Name: "closed16", About: "16 clients", Rounds: 2,
			Shows: []result.Metric{result.Rate, result.CPU},
		}},
		Servers: []result.Server{{Name: "preforkd-stdio", Class: "exec"}, {Name: "tcpserver", Class: "exec"}, {Name: "broken", Class: "exec"}},
		Missing: []result.Missing{{Server: "xinetd", Reason: "xinetd is not installed"}, {Server: "apache", Scenario: "closed16", Reason: "no reason"}},
	}
	for round := 1; round <= 2; round++ {
		add := func(name string, rate, cpu float64) {
			r.Measurements = append(r.Measurements, result.Measurement{
				Scenario: "closed16", Server: name, Round: round,
				Values: map[result.Metric]float64{result.Rate: rate, result.CPU: cpu},
			})
		}
		add("preforkd-stdio", 1500, 400)
		add("tcpserver", 1000, 800)
		r.Measurements = append(r.Measurements, result.Measurement{
			Scenario: "closed16", Server: "broken", Round: round, Problem: "it ended by itself",
		})
	}
	return r
}

func TestTextNamesEverything(t *testing.T) {
	text := Text(record(), "tcpserver")
	for _, want := range []string{
		"1500 [1500-1500]", "1.50", // the rate and its ratio
		"0.400 [0.400-0.400]", "0.500", // CPU seconds per thousand, and its ratio
		"2 it ended by itself",
		"xinetd: left out: xinetd is not installed",
		"apache: left out: no reason",
		"P1g  closed16 conn/s of preforkd-stdio / tcpserver",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
}

// A table that is taken out of a report keeps what its machine is like.
func TestPrimitivesStandAboveEveryTable(t *testing.T) {
	r := record()
	r.Primitives = result.Primitives{result.Spawn: 68164, result.SpawnLibc: 581849, result.Fault: 902, result.Nap: 100341, result.NapCPU: 17594}
	const line = "\nThis machine, in us: spawn of an empty program 68.2 (with musl -, with glibc 582), " +
		"page fault 0.902, CPUID -, system call -, context switch -, nap of 20 100 (CPU 17.6)\n"
	text := Text(r, "tcpserver")
	for _, below := range []string{"  preforkd-stdio  exec", "closed16: ", "targets\n"} {
		if !strings.Contains(text, line+below) {
			t.Errorf("it does not stand above %q in\n%s", below, text)
		}
	}
	if without := Text(record(), "tcpserver"); strings.Contains(without, "This machine") {
		t.Errorf("nothing was measured, and it is there:\n%s", without)
	}
}

func TestMarkdown(t *testing.T) {
	servers := ServerTable([]*result.Record{record()})
	for _, want := range []string{
		"| server | 16 clients: connections/s | CPU ms each |\n|---|--:|--:|\n",
		"| preforkd-stdio | 1500 | 0.400 |\n",
	} {
		if !strings.Contains(servers, want) {
			t.Errorf("%q is missing in\n%s", want, servers)
		}
	}
	if strings.Contains(servers, "broken") {
		t.Errorf("a server without values is in\n%s", servers)
	}
	targets := TargetTable(result.Evaluate(record(), result.Targets))
	want := "| P1g | closed16 conn/s of preforkd-stdio / tcpserver | ≥ 1 | **1.50** | 1.50 to 1.50 |\n"
	missing := "| P1g | closed16 conn/s of preforkd-stdio / xinetd | ≥ 2 | not measured | xinetd is not installed |\n" +
		"| P4 | closed16 conn/s of preforkd-reuse / apache | ≥ 0.7 | not measured | no reason |\n"
	if !strings.Contains(targets, want) || !strings.Contains(targets, missing) || strings.Count(targets, "\n") != 5 {
		t.Errorf("want one target that was measured, and two that could not be,\n%s%s\nin\n%s", want, missing, targets)
	}
}

// A server that fails has missed its target, and the table of its scenario says
// how it has failed.
func TestMarkdownOfAServerThatFails(t *testing.T) {
	r := record()
	r.Primitives = result.Primitives{result.Fault: 902}
	missed := []result.Target{{ID: "T", Scenario: "closed16", Metric: result.Rate, Server: "broken", AtLeast: true, Want: 3}}
	if got, want := TargetTable(result.Evaluate(r, missed)), "| T | closed16 conn/s of broken | ≥ 3 | fails | 2 it ended by itself |\n"; !strings.HasSuffix(got, want) {
		t.Errorf("want\n%s\nin\n%s", want, got)
	}
	table := ScenarioTable(r, r.Scenarios[0])
	for _, want := range []string{
		"page fault 0.902, ",
		".\n\n| server | conn/s | CPU s/1000 | errors |\n|---|--:|--:|---|\n| preforkd-stdio | 1500 | 0.400 |  |\n",
		"| broken |  |  | 2 it ended by itself |\n",
		"\napache is left out: no reason\n",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is missing in\n%s", want, table)
		}
	}
	r.Machine.Kernel = "6.18 x86_64"
	if compared := Compared(r, []*result.Record{r}); !strings.Contains(compared, "page fault 0.902, ") {
		t.Errorf("no primitives above\n%s", compared)
	}
}

func TestChartIsSelfContainedXML(t *testing.T) {
	chart := Chart(record())
	for in := xml.NewDecoder(strings.NewReader(chart)); ; {
		if _, err := in.Token(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatalf("%v in\n%s", err, chart)
		}
	}
	if n := strings.Count(chart, "<rect"); n != 4 {
		t.Errorf("%d bars, want 2 servers in 2 panels", n)
	}
	if n := strings.Count(chart, "http"); n != 1 { // the name space
		t.Errorf("the chart refers to %d addresses", n)
	}
	for _, forbidden := range []string{"NaN", "Inf", "<script", "@import", "url("} {
		if strings.Contains(chart, forbidden) {
			t.Errorf("the chart contains %s", forbidden)
		}
	}
}

func TestNumber(t *testing.T) {
	for v, want := range map[float64]string{0: "0.00", 0.0123: "0.012", 1.234: "1.23", 12.34: "12.3", 1234.5: "1234", -3: "-3.00"} {
		if got := number(v); got != want {
			t.Errorf("number(%v) = %q, want %q", v, got, want)
		}
	}
	if got := number(math.NaN()); got != "-" {
		t.Errorf("number(NaN) = %q", got)
	}
}

// A figure that is there twice could be two figures.
func TestDocumentRefusesTwoRunsOfOneScenario(t *testing.T) {
	if _, err := Document([]*result.Record{record(), record()}); err == nil || !strings.Contains(err.Error(), "closed16") {
		t.Errorf("got %v", err)
	}
}

func TestDocumentRefusesARunThatLacksAFigure(t *testing.T) {
	if _, err := Document([]*result.Record{record()}); err == nil || !strings.Contains(err.Error(), "no run has") {
		t.Errorf("got %v", err)
	}
}

func TestBetween(t *testing.T) {
	text := "a\n" + beginMarker + "old\n" + endMarker + "b\n"
	before, between, after, err := Between(text)
	if err != nil || before+between+after != text || between != "old\n" {
		t.Errorf("got %q, %q, %q, %v", before, between, after, err)
	}
	for _, missing := range []string{"", beginMarker, endMarker, endMarker + beginMarker} {
		if _, _, _, err := Between(missing); err == nil {
			t.Errorf("%q was accepted", missing)
		}
	}
}
