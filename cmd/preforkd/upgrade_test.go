package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// upgradeAnswerer answers requests for an upgrade at a socket, and returns its path. The
// channel has what was asked for.
func upgradeAnswerer(t *testing.T, answer http.HandlerFunc) (path string, asked <-chan control.UpgradeRequest) {
	t.Helper()
	path = filepath.Join(systest.Dir(t), "control.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	requests := make(chan control.UpgradeRequest, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/upgrade", func(w http.ResponseWriter, r *http.Request) {
		var request control.UpgradeRequest
		text, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(text, &request)
		}
		if err != nil {
			t.Errorf("%v: %s", err, text)
		}
		requests <- request
		answer(w, r)
	})
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Close() })
	return path, requests
}

// jsonAnswer answers with a status code and a value as JSON.
func jsonAnswer(code int, value any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(value)
	}
}

// What upgrade prints, and how it exits, is up to the outcome.
func TestUpgradeCommand(t *testing.T) {
	t.Parallel()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	upgraded := control.Upgraded{
		From: "1.4.0", To: "1.5.0", Duration: 0.25, Pause: 0.012, Workers: 17, Generation: 2,
		Dropped: []string{"the observation of service web\x1b[2J"}, Reloaded: &control.Reloaded{Added: []string{"git"}},
	}
	for _, c := range []struct {
		name           string
		answer         http.HandlerFunc
		args           []string
		asked          control.UpgradeRequest
		code           int
		stdout, stderr string
	}{
		{name: "upgraded", answer: jsonAnswer(200, upgraded), stdout: `upgraded from 1.4.0 to 1.5.0 in 250ms, of which nothing was accepted for 12ms
generation 2; workers that went over: 17
dropped  "the observation of service web\x1b[2J"
added    git
`},
		{name: "paths", answer: jsonAnswer(200, control.Upgraded{From: "1", To: "1", Generation: 3}), args: []string{"--binary", "new", "--config", "./a/../f.toml"},
			asked: control.UpgradeRequest{Binary: filepath.Join(here, "new"), Config: filepath.Join(here, "f.toml")}, stdout: `upgraded from 1 to 1 in 0µs, of which nothing was accepted for 0µs
generation 3; workers that went over: 0
`},
		{name: "tried", answer: jsonAnswer(200, control.Upgraded{From: "1.4.0", To: "1.5.0", Workers: 17, Check: true}), args: []string{"--check"},
			asked: control.UpgradeRequest{Check: true}, stdout: "an upgrade from 1.4.0 to 1.5.0 would succeed; workers to go over: 17\n"},
		{name: "failed", answer: jsonAnswer(500, map[string]string{"error": "not upgraded: rehearsal: it said nothing"}), code: exitFailure,
			stderr: "preforkd: not upgraded: rehearsal: it said nothing\n"},
		{name: "another one", answer: jsonAnswer(409, map[string]string{"error": "an upgrade is under way"}), code: exitFailure, stderr: "preforkd: an upgrade is under way\n"},
		{name: "no such binary", answer: jsonAnswer(400, map[string]string{"error": "binary /x: no such file"}), args: []string{"--binary", "/x"},
			asked: control.UpgradeRequest{Binary: "/x"}, code: exitUsage, stderr: "preforkd: binary /x: no such file\n"},
		{name: "mistakes", answer: jsonAnswer(422, map[string]any{"error": "not upgraded: f:1:2: wrong", "mistakes": []string{"f:1:2: wrong", "f:2:3: wrong, too"}}),
			code: exitFailure, stderr: "f:1:2: wrong\nf:2:3: wrong, too\npreforkd: not upgraded: the old program goes on, and nothing has changed\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path, asked := upgradeAnswerer(t, c.answer)
			r := systest.Run(t, append([]string{"upgrade", "--control", path}, c.args...)...)
			if r.Code != c.code || r.Stdout != c.stdout || r.Stderr != c.stderr {
				t.Errorf("exit code %d\n%s%s, want %d\n%s%s", r.Code, r.Stdout, r.Stderr, c.code, c.stdout, c.stderr)
			}
			if got := <-asked; got != c.asked {
				t.Errorf("asked for %+v, want %+v", got, c.asked)
			}
		})
	}
	path, _ := upgradeAnswerer(t, jsonAnswer(200, upgraded))
	r := systest.Run(t, "upgrade", "--json", "--control", path)
	var printed control.Upgraded
	if err := json.Unmarshal([]byte(r.Stdout), &printed); err != nil || r.Code != 0 || printed.Workers != 17 || printed.Reloaded == nil {
		t.Errorf("%v: %+v", err, r)
	}
}

// A master that dies instead of an answer is told of as such.
func TestUpgradeWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	path, _ := upgradeAnswerer(t, func(w http.ResponseWriter, _ *http.Request) {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			conn.Close()
		}
	})
	r := systest.Run(t, "upgrade", "--control", path)
	if r.Code != exitFailure || r.Stdout != "" || !strings.Contains(r.Stderr, "closed the connection without an answer") || !strings.Contains(r.Stderr, "preforkd status and the log") {
		t.Errorf("%+v", r)
	}
	oneLine(t, r.Stderr)
}
