package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// scraped returns the samples of a scrape by name and labels, as they stand
// there.
func scraped(t *testing.T, text string) map[string]float64 {
	t.Helper()
	samples := map[string]float64{}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		name, value, found := cutLast(lines.Text(), " ")
		if !found || strings.HasPrefix(name, "#") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		samples[name] = v
	}
	return samples
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// After a mixed run the metrics tell what the run was, add up, and have the form
// that Prometheus wants.
func TestMetrics(t *testing.T) {
	t.Parallel()
	gone := filepath.Join(systest.Dir(t), "gone")
	systest.CopyProgram(t, "/bin/cat", gone)
	m := configured(t, 3, fmt.Sprintf(`
[service.echo]
listen = ["127.0.0.1:0"]
handler = "echo"
spares = 2
[service.failed]
listen = ["127.0.0.1:0"]
program = [%q]
[service.refused]
listen = ["127.0.0.1:0"]
program = ["/bin/sh", "-c", "read line; case $line in kill) kill -SEGV $$;; *) exit $line;; esac"]
deny = ["127.0.0.7"]
`, gone))
	m.Spares = 2
	m.WaitSpares(t, 2)
	m.Baseline(t)
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		m.WaitSpares(t, 2)
		c := m.DialTo(t, "tcp", m.Listeners[0].Address)
		c.Echo(t, "hello\n")
		c.Close()
		m.DialTo(t, "tcp", m.Listeners[1].Address).ExpectGone(t)
	}
	for _, how := range []string{"0\n", "3\n", "3\n", "kill\n"} {
		c := m.DialTo(t, "tcp", m.Listeners[2].Address)
		c.Send(t, how)
		c.ExpectGone(t)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.7")}}
	denied, err := d.DialContext(t.Context(), "tcp", m.Listeners[2].Address)
	if err != nil {
		t.Fatal(err)
	}
	m.Wrap(denied).ExpectGone(t)
	m.WaitIdle(t)
	m.WaitSpares(t, 2)
	live := m.DialTo(t, "tcp", m.Listeners[0].Address)
	live.Echo(t, "still here\n")
	m.WaitSpares(t, 2)

	code, text := curl(t, m, "/metrics")
	if code != "200" {
		t.Fatalf("%s: %s", code, text)
	}
	// What "promtool check metrics" does.
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Error(err)
	}
	for _, problem := range problems {
		t.Errorf("%s: %s", problem.Metric, problem.Text)
	}
	got := scraped(t, text)
	for name, want := range map[string]float64{
		`preforkd_connections_accepted_total{service="echo"}`:                                    4,
		`preforkd_connections_reaped_total{service="echo"}`:                                      3,
		`preforkd_connections_live{service="echo"}`:                                              1,
		`preforkd_connections_accepted_total{service="failed"}`:                                  3,
		`preforkd_connections_failed_total{cause="program-missing",service="failed"}`:            3,
		`preforkd_connections_refused_total{reason="denied",service="refused"}`:                  1,
		`preforkd_connections_reaped_total{service="refused"}`:                                   4,
		`preforkd_worker_exits_total{code="3",service="refused",signal=""}`:                      2,
		`preforkd_worker_exits_total{code="0",service="refused",signal=""}`:                      1,
		`preforkd_worker_exits_total{code="",service="refused",signal="SIGSEGV"}`:                1,
		`preforkd_connection_bytes_total{direction="in",service="echo"}`:                         18,
		`preforkd_connection_bytes_total{direction="out",service="echo"}`:                        18,
		`preforkd_connection_duration_seconds_count{service="echo"}`:                             3,
		`preforkd_connection_duration_seconds_bucket{service="refused",le="+Inf"}`:               4,
		`preforkd_spawn_duration_seconds_count{service="refused"}`:                               4,
		`preforkd_handover_duration_seconds_count{service="echo"}`:                               4,
		`preforkd_worker_max_resident_bytes_count{service="refused"}`:                            4,
		`preforkd_slots{service="echo"}`:                                                         256,
		`preforkd_slots_taken{service="refused"}`:                                                0,
		`preforkd_spares{service="echo",state="ready"}`:                                          2,
		`preforkd_accept_queue_length{listener="` + m.Listeners[0].Address + `",service="echo"}`: 0,
		`preforkd_draining`: 0,
	} {
		if v, there := got[name]; !there || v != want {
			t.Errorf("%s is %v (%v), want %v", name, v, there, want)
		}
	}
	for _, prefix := range []string{"preforkd_build_info{", "process_open_fds", "go_goroutines", `preforkd_worker_cpu_seconds_total{mode="user",service="refused"}`} {
		if !strings.Contains(text, "\n"+prefix) {
			t.Errorf("there is no %s", prefix)
		}
	}
	for _, service := range []string{"echo", "failed", "refused"} {
		sum := 0.0
		for name, v := range got {
			if match := parts.FindStringSubmatch(name); match != nil && strings.Contains(match[2], `service="`+service+`"`) {
				sum += v
			}
		}
		if accepted := got[`preforkd_connections_accepted_total{service="`+service+`"}`]; sum != accepted {
			t.Errorf("%s: %v are accounted for of %v", service, sum, accepted)
		}
	}
	if strings.Contains(text, "127.0.0.7") {
		t.Error("the metrics name a peer")
	}
	live.Close()
}

// The first scrape has every counter of a service whose labels are known, also of a
// service that a reload has just made, so that an increase from nothing is seen.
// Exit codes are as they come.
func TestFirstScrape(t *testing.T) {
	t.Parallel()
	m := configured(t, 1, single(catting))
	code, text := curl(t, m, "/metrics")
	before := scraped(t, text)
	if code != "200" || len(before) == 0 {
		t.Fatalf("%s: %s", code, text)
	}
	gone := filepath.Join(systest.Dir(t), "gone")
	systest.CopyProgram(t, "/bin/cat", gone)
	m.Reload(t, single(catting)+fmt.Sprintf("[service.two]\nlisten = [\"127.0.0.1:0\"]\nprogram = [%q]\ndeny = [\"127.0.0.7\"]\n", gone))
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	m.Baseline(t) // with one more listener
	_, text = curl(t, m, "/metrics")
	both := scraped(t, text)
	for _, label := range []string{
		`refused_total{reason="denied"`, `refused_total{reason="penalty"`, `refused_total{reason="early-drop"`,
		`refused_total{reason="max-connections-per-source"`, `refused_total{reason="rate-per-source"`, `refused_total{reason="rate"`,
		`refused_total{reason="max-connections"`, `refused_total{reason="proxy-missing"`, `refused_total{reason="proxy-malformed"`,
		`refused_total{reason="proxy-oversized"`, `refused_total{reason="proxy-timeout"`, `refused_total{reason="proxy-crowded"`,
		`refused_total{reason="draining"`, `refused_total{reason="gone"`,
		`failed_total{cause="program-missing"`, `failed_total{cause="program-unusable"`, `failed_total{cause="out-of-processes"`,
		`failed_total{cause="out-of-memory"`, `failed_total{cause="out-of-descriptors"`, `failed_total{cause="stopping"`, `failed_total{cause="other"`,
	} {
		for service, samples := range map[string]map[string]float64{"one": before, "two": both} {
			name := "preforkd_connections_" + label + `,service="` + service + `"}`
			if v, there := samples[name]; !there || v != 0 {
				t.Errorf("%s is %v (%v), want 0", name, v, there)
			}
		}
	}
	// No counter has a sample that was not there before.
	m.DialTo(t, "tcp", m.Listeners[0].Address).Close()
	dialFromTo(t, m, "127.0.0.7", m.Listeners[1].Address).ExpectGone(t)
	m.DialTo(t, "tcp", m.Listeners[1].Address).ExpectGone(t)
	m.WaitIdle(t)
	_, text = curl(t, m, "/metrics")
	for name := range scraped(t, text) {
		if _, there := both[name]; !there && strings.HasPrefix(name, "preforkd_") && !strings.HasPrefix(name, "preforkd_worker_exits_total{") {
			t.Errorf("%s has come with its first event", name)
		}
	}
}

// parts are what accepted connections are the sum of.
var parts = regexp.MustCompile(`^preforkd_connections_(refused_total|failed_total|reaped_total|live)({.*})$`)

// Metrics are served where the configuration says, and a reload moves them.
func TestMetricsAddress(t *testing.T) {
	t.Parallel()
	scrape := func(address string) (string, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
			return "", err
		}
		text, err := readAll(conn)
		return text, err
	}
	service := "[service.cat]\nlisten = [\"127.0.0.1:0\"]\nprogram = [\"cat\"]\n"
	with := func(address string) string {
		return "[master]\ncontrol = \"none\"\nmetrics = \"" + address + "\"\n" + service
	}
	m := systest.Options{Config: with("127.0.0.1:0")}.Start(t)
	before := len(systest.FDs(m.PID))
	first := m.WaitFor(t, systest.Is("serving metrics")).Local
	text, err := scrape(first)
	if err != nil || !strings.Contains(text, "\npreforkd_connections_live{service=\"cat\"} 0\n") {
		t.Fatalf("%v: %s", err, text)
	}
	// A silent client and a talkative one hold nobody up.
	silent, err := net.Dial("tcp", first)
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	c := m.Dial(t)
	c.Echo(t, "hello\n")
	c.Close()

	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if e := m.Reload(t, with(taken.Addr().String())); e.Msg != systest.NotReloaded || !strings.HasPrefix(e.Error, "serve metrics: listen tcp "+taken.Addr().String()) {
		t.Errorf("unexpected event: %s", e.Line)
	}
	if _, err := scrape(first); err != nil {
		t.Errorf("a reload that changes nothing: %v", err)
	}
	second := freeAddress(t)
	m.Reload(t, with(second))
	if text, err := scrape(second); err != nil || !strings.Contains(text, "preforkd_build_info") {
		t.Errorf("%v: %s", err, text)
	}
	systest.Until(t, "the first address is given up", func() bool { _, err := scrape(first); return err != nil }, nil)
	m.Reload(t, "[master]\ncontrol = \"none\"\n"+service)
	systest.Until(t, "the second address is given up", func() bool { _, err := scrape(second); return err != nil }, nil)
	silent.Close()
	systest.Until(t, "one descriptor less", func() bool { return len(systest.FDs(m.PID)) == before-1 }, func() string { return fmt.Sprint(systest.FDs(m.PID)) })
	m.Baseline(t)

	r := systest.Run(t, "serve", "--control", "none", "--listen", "127.0.0.1:0", "--metrics", taken.Addr().String())
	oneLine(t, r.Stderr)
	if r.Code != exitFailure || !strings.Contains(r.Stderr, "serve metrics: listen tcp "+taken.Addr().String()) {
		t.Errorf("exit %d: %s", r.Code, r.Stderr)
	}
	for address, want := range map[string]string{
		"unix:/run/x": "must be a TCP address", "nonsense": "metrics \"nonsense\": ", ":7007": "metrics :7007: is taken by 127.0.0.1:7007 of service echo",
	} {
		r := systest.Run(t, "check", "--metrics", address)
		oneLine(t, r.Stderr)
		if r.Code != exitUsage || !strings.Contains(r.Stderr, want) {
			t.Errorf("exit %d: %s", r.Code, r.Stderr)
		}
	}
}

func readAll(conn net.Conn) (string, error) {
	var text strings.Builder
	_, err := bufio.NewReader(conn).WriteTo(&text)
	return text.String(), err
}
