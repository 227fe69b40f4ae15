package control

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
)

// ask makes a server answer a request as if it had come from a peer.
func ask(s *Server, peer Peer, r *http.Request) *http.Response {
	c := &client{peer: peer, list: &clients{max: maxClients}}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), clientKey{}, c)))
	return w.Result()
}

func TestAnswers(t *testing.T) {
	self := uint32(os.Geteuid())
	const stranger = 12345
	large := `{"service":"` + strings.Repeat("x", maxBody) + `"}`
	for _, c := range []struct {
		name         string
		uid          uint32
		method, path string
		body         string
		code         int
		want         string // a part of the answer
	}{
		{"status", self, "GET", "/v1/status", "", 200, `"state":"serving"`},
		{"status for a stranger", stranger, "GET", "/v1/status", "", 200, `"state":"serving"`},
		{"status without its body", stranger, "HEAD", "/v1/status", "", 200, ``},
		{"explain", stranger, "GET", "/v1/explain?address=192.0.2.1&service=a%20b", "", 200, `"service":"a b","address":"192.0.2.1"`},
		{"explain nobody", self, "GET", "/v1/explain?address=nobody", "", 400, `address \"nobody\": must be an IP address`},
		{"explain nothing", self, "GET", "/v1/explain", "", 400, `the parameter address is missing`},
		{"explain too much", self, "GET", "/v1/explain?address=::1&why=x", "", 400, `unknown parameter \"why\"`},
		{"explain what is no query", self, "GET", "/v1/explain?address=::1&service=%zz", "", 400, `the query is not what is expected: invalid URL escape`},
		{"explain with the wrong separator", self, "GET", "/v1/explain?address=::1;service=git", "", 400, `the query is not what is expected: invalid semicolon`},
		{"explain two at a time", self, "GET", "/v1/explain?address=::1&address=::2", "", 400, `the parameter address is there 2 times`},
		{"level", stranger, "GET", "/v1/log-level", "", 200, `{"level":"info"}`},
		{"set level", self, "POST", "/v1/log-level", `{"level": "debug"}`, 200, `{"level":"debug","before":"info"}`},
		{"set level as root", 0, "POST", "/v1/log-level", `{"level": "debug"}`, 200, `{"level":"debug","before":"info"}`},
		{"set level as a stranger", stranger, "POST", "/v1/log-level", `{"level": "debug"}`, 403, `and not uid 12345`},
		{"an error of no kind", self, "POST", "/v1/log-level", `{"level": "loud"}`, 500, `it broke`},
		{"drain all", self, "POST", "/v1/drain", "", 200, `"state":"draining"`},
		{"drain one", self, "POST", "/v1/drain", ` {"service":"git"} `, 200, `"service":"git"`},
		{"drain nothing", self, "POST", "/v1/drain", `{"service":"nothing"}`, 404, `there is no service \"nothing\"`},
		{"drain by looking", self, "GET", "/v1/drain", "", 405, `cannot be asked for with \"GET\", only with POST`},
		{"resume one", self, "POST", "/v1/resume", `{"service":"git"}`, 200, `{"service":"git","state":"serving","listeners":[]}`},
		{"resume all", self, "POST", "/v1/resume", "", 400, `the service is missing`},
		{"resume by looking", self, "GET", "/v1/resume", "", 405, `cannot be asked for with \"GET\", only with POST`},
		{"learn", self, "POST", "/v1/learn", `{"service":"git"}`, 200, `{"id":"a","service":"git"`},
		{"learn of all", self, "POST", "/v1/learn", "{}", 400, `the service is missing`},
		{"learn as a stranger", stranger, "POST", "/v1/learn", `{"service":"git"}`, 403, `and not uid 12345`},
		{"what was learned", 0, "POST", "/v1/learn/a%2Eb", "", 200, `"id":"a.b"`},
		{"what was learned, for a stranger", stranger, "POST", "/v1/learn/a", "", 403, `and not uid 12345`},
		{"the end of learning", self, "POST", "/v1/learn/a", `{"end":true}`, 200, `"system_calls":["read"]`},
		{"the end of learning, perhaps", self, "POST", "/v1/learn/a", `{"end":"perhaps"}`, 400, `the body is not what is expected`},
		{"upgrade check", self, "POST", "/v1/upgrade", `{"check":true,"binary":"/a b"}`, 200, `{"from":"1","to":"2","duration_seconds":0,"pause_seconds":0,"workers":0,"generation":0,"dropped":[],"check":true}`},
		{"upgrade to no path", self, "POST", "/v1/upgrade", `{"binary":"preforkd"}`, 400, `binary \"preforkd\": must be an absolute path`},
		{"upgrade with no path", self, "POST", "/v1/upgrade", `{"config":"./f"}`, 400, `config \"./f\": must be an absolute path`},
		{"upgrade to what is no path", self, "POST", "/v1/upgrade", `{"binary":"/a\u0000b"}`, 400, `a path has no NUL`},
		{"upgrade with more", self, "POST", "/v1/upgrade", `{"force":true}`, 400, `unknown field`},
		{"upgrade as a stranger", stranger, "POST", "/v1/upgrade", `{"check":true}`, 403, `and not uid 12345`},
		{"upgrade by looking", self, "GET", "/v1/upgrade", "", 405, `only with POST`},
		{"no JSON", self, "POST", "/v1/drain", `service=git`, 400, `the body is not what is expected`},
		{"another type", self, "POST", "/v1/drain", `{"service":5}`, 400, `the body is not what is expected`},
		{"a list", self, "POST", "/v1/drain", `[]`, 400, `the body is not what is expected`},
		{"a field too many", self, "POST", "/v1/drain", `{"servise":"git"}`, 400, `unknown field`},
		{"more than one", self, "POST", "/v1/drain", `{"service":"git"} {}`, 400, `more than one value`},
		{"something behind it", self, "POST", "/v1/drain", `{"service":"git"}}`, 400, `more than one value`},
		{"too large", self, "POST", "/v1/drain", large, 413, `more than 65536 bytes`},
		{"reload", self, "POST", "/v1/reload", "", 422, `"mistakes":["f:1:2: wrong","f:2:3: wrong, too"]`},
		{"kill", self, "POST", "/v1/connections/abc-1/kill", "", 200, `{"connection":"abc-1","service":"","pid":0,"signal":"TERM"}`},
		{"kill by name", self, "POST", "/v1/connections/a%20b/kill", `{"signal":"sigint"}`, 200, `"connection":"a b","service":"","pid":0,"signal":"INT"`},
		{"kill by number", self, "POST", "/v1/connections/1/kill", `{"signal":9}`, 200, `"signal":"KILL"`},
		{"kill by a number as text", self, "POST", "/v1/connections/1/kill", `{"signal":"35"}`, 200, `"signal":"35"`},
		{"kill by nothing", self, "POST", "/v1/connections/1/kill", `{"signal":0}`, 400, `a number from 1 to 64`},
		{"kill by what is none", self, "POST", "/v1/connections/1/kill", `{"signal":"DEAD"}`, 400, `signal \"DEAD\"`},
		{"kill as a stranger", stranger, "POST", "/v1/connections/1/kill", "", 403, `only root and uid`},
		{"nothing", self, "GET", "/", "", 404, `there is nothing at \"/\"`},
		{"no connection", self, "POST", "/v1/connections//kill", "", 404, `there is nothing at`},
		{"the pattern itself", self, "POST", "/v1/connections/{id}/kill", "", 200, `"connection":"{id}"`},
		{"deeper", self, "GET", "/v1/status/", "", 404, `there is nothing at`},
		{"another version", self, "GET", "/v2/status", "", 404, `there is nothing at`},
		{"a method of its own", self, "BREW", "/v1/status", "", 405, `only with GET`},
		{"metrics that there are none of", self, "GET", "/metrics", "", 404, `there is nothing at`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newServer(&fakeBackend{level: "info"}, self)
			answer := ask(s, Peer{UID: c.uid, PID: 1}, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
			text := readAll(t, answer)
			if answer.StatusCode != c.code || !strings.Contains(text, c.want) {
				t.Errorf("%d %s, want %d with %s", answer.StatusCode, text, c.code, c.want)
			}
			checkAnswer(t, answer, text)
		})
	}
}

func readAll(t *testing.T, answer *http.Response) string {
	t.Helper()
	var text strings.Builder
	if _, err := bufio.NewReader(answer.Body).WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// checkAnswer checks what holds for every answer. It is JSON on one line. It
// has an error unless it is one of success, and it names the methods that are
// allowed when another one was used.
func checkAnswer(t *testing.T, answer *http.Response, text string) {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(text), &fields); err != nil || strings.Count(text, "\n") != 1 {
		t.Fatalf("%v: %q", err, text)
	}
	if got := answer.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("content type %q", got)
	}
	reason, failed := fields["error"].(string)
	if failed == (answer.StatusCode == 200) || failed && reason == "" {
		t.Errorf("%d with error %q", answer.StatusCode, reason)
	}
	if allow := answer.Header.Get("Allow"); (allow != "") != (answer.StatusCode == 405) {
		t.Errorf("%d allows %q", answer.StatusCode, allow)
	}
	if len(reason) > 1000 {
		t.Errorf("an error of %d bytes", len(reason))
	}
}

// The backend learns which process acts.
func TestPeerOfAnAction(t *testing.T) {
	m := &fakeBackend{}
	s := newServer(m, uint32(os.Geteuid()))
	ask(s, Peer{UID: 0, PID: 4711}, httptest.NewRequest("POST", "/v1/drain", strings.NewReader(`{"service":"git"}`)))
	ask(s, Peer{UID: 0, PID: 4712}, httptest.NewRequest("POST", "/v1/connections/a-1/kill", nil))
	if want := []string{"drain git by uid=0,pid=4711", "kill a-1 with TERM by uid=0,pid=4712"}; !slices.Equal(m.calls, want) {
		t.Errorf("%q", m.calls)
	}
}

func TestMetricsHaveTheirHandler(t *testing.T) {
	s := newServer(&fakeBackend{}, 0)
	s.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("up 1\n"))
	})
	answer := ask(s, Peer{UID: 5}, httptest.NewRequest("GET", "/metrics", nil))
	if text := readAll(t, answer); answer.StatusCode != 200 || text != "up 1\n" {
		t.Errorf("%d %q", answer.StatusCode, text)
	}
}

// Whatever is asked and by whom, the server does not panic and answers in JSON.
// Only root and the user of the master can act.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
		"HEAD /v1/explain?address=::1&service=%00 HTTP/1.0\r\n\r\n",
		"POST /v1/drain HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n{\"service\":\"git\"}",
		"POST /v1/connections/a-1/kill HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"sig\r\nd\r\nnal\":\"TERM\" } \r\n0\r\n\r\n",
		"POST /v1/log-level HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n{\"level\":[[[[",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT //v1/status:80 HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST http://u@h/v1/../v1//reload;x?%zz HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nnull",
	} {
		f.Add(seed, uint32(0))
		f.Add(seed, uint32(12345))
	}
	f.Fuzz(func(t *testing.T, text string, uid uint32) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text)))
		if err != nil {
			return // net/http answers it itself
		}
		s := newServer(&fakeBackend{level: "info"}, 1000)
		answer := ask(s, Peer{UID: uid}, r)
		checkAnswer(t, answer, readAll(t, answer))
		if r.Method == "POST" && uid != 0 && uid != 1000 && answer.StatusCode == 200 {
			t.Errorf("uid %d has acted", uid)
		}
	})
}

// Whatever the text is, a signal has one name and one number.
func FuzzParseSignal(f *testing.F) {
	for _, seed := range []string{"TERM", "sigkill", "9", "64", "65", "0", "-1", "SIG", "SIGSIGTERM", "RTMIN+1", "\x00"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sig, err := ParseSignal(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q", err.Error())
			}
			return
		}
		if again, err := ParseSignal(SignalName(sig)); err != nil || again != sig || sig < 1 || sig > maxSignal {
			t.Errorf("%q is %d, and that is %q, which is %d, %v", text, sig, SignalName(sig), again, err)
		}
	})
}
