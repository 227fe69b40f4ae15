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
		"P1  closed16 conn/s of preforkd-stdio / tcpserver",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
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
	want := "| P1 | closed16 conn/s of preforkd-stdio / tcpserver | ≥ 1.1 | **1.50** | 1.50 to 1.50 |\n"
	if !strings.Contains(targets, want) || strings.Count(targets, "\n") != 3 {
		t.Errorf("want one target,\n%s\nin\n%s", want, targets)
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
