package control

import (
	"net/http/httptest"
	"testing"
)

// Every request that matches no operation is answered by the server itself, in
// JSON, and never redirected.
func TestNoRoute(t *testing.T) {
	const kill = "/v1/connections/a-1/kill"
	for _, c := range []struct {
		method, path string
		code         int
		allow        string
	}{
		{"POST", "/v1/status", 405, "GET"},
		{"DELETE", "/v1/status", 405, "GET"},
		{"OPTIONS", "/v1/status", 405, "GET"},
		{"CONNECT", "/v1/status", 405, "GET"},
		{"POST", "/v1/explain?address=::1", 405, "GET"},
		{"PUT", "/v1/log-level", 405, "GET, POST"},
		{"GET", "/v1/drain", 405, "POST"},
		{"HEAD", "/v1/drain", 405, "POST"},
		{"GET", "/v1/resume", 405, "POST"},
		{"GET", "/v1/reload", 405, "POST"},
		{"GET", kill, 405, "POST"},
		{"GET", "/v1/upgrade", 405, "POST"},
		{"GET", "/v1/learn", 405, "POST"},
		{"GET", "/v1/learn/a", 405, "POST"},
		{"post", kill, 405, "POST"},

		{"GET", "/v1/status/", 404, ""},
		{"GET", "//v1/status", 404, ""},
		{"GET", "/v1//status", 404, ""},
		{"GET", "/v1/./status", 404, ""},
		{"GET", "/v1/drain/../status", 404, ""},
		{"CONNECT", "//v1/status", 404, ""},
		{"POST", "/v1/drain/", 404, ""},
		{"POST", "/v1/connections/kill", 404, ""},
		{"POST", "/v1/connections/a/b/kill", 404, ""},
		{"POST", "/v1/connections/a%2Fb/kill", 404, ""},
		{"POST", "/v1/connections/a%2fb/kill", 404, ""},
		{"POST", "/v1/connections%2Fa/kill", 404, ""},
		{"POST", "/v1/connections/a-1", 404, ""},
		{"POST", kill + "/", 404, ""},
		{"POST", "/v1/upgrade/a", 404, ""},
		{"POST", "/v1/learn/", 404, ""},
		{"POST", "/v1/learn/a/b", 404, ""},
		{"POST", "/metrics", 404, ""},
	} {
		b := &fakeBackend{level: "info"}
		answer := ask(newServer(b, 0), Peer{}, httptest.NewRequest(c.method, c.path, nil))
		text := readAll(t, answer)
		checkAnswer(t, answer, text)
		if allow := answer.Header.Get("Allow"); answer.StatusCode != c.code || allow != c.allow {
			t.Errorf("%s %s: %d, allowed %q; want %d, %q: %s", c.method, c.path, answer.StatusCode, allow, c.code, c.allow, text)
		}
		if len(b.calls) > 0 {
			t.Errorf("%s %s: the backend was asked for %q", c.method, c.path, b.calls)
		}
	}
}

// Escaped characters other than a slash mean the same as the characters.
func TestEscapedPath(t *testing.T) {
	for path, want := range map[string]int{
		"/v1/st%61tus":                   200,
		"/%76%31/status":                 200,
		"/v1/connections/%2e%2e/kill":    405,
		"/v1/connections/%7Bid%7D/kill":  405,
		"/v1/connections/a%20b%3F/kill":  405,
		"/v1/connections/%E4%B8%AD/kill": 405,
	} {
		answer := ask(newServer(&fakeBackend{}, 0), Peer{}, httptest.NewRequest("GET", path, nil))
		if answer.StatusCode != want {
			t.Errorf("%s: %d %s, want %d", path, answer.StatusCode, readAll(t, answer), want)
		}
	}
}
