package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// An operation answers one kind of request. The body is what the client has
// sent, read to its end.
type operation func(s *Server, r *http.Request, body []byte, peer Peer) (any, error)

// operations lists every request that the server knows, by the pattern of
// http.ServeMux that matches it.
var operations = map[string]operation{
	"GET /v1/status":                 (*Server).status,
	"GET /v1/explain":                (*Server).explain,
	"GET /v1/log-level":              (*Server).logLevel,
	"POST /v1/log-level":             (*Server).setLogLevel,
	"POST /v1/drain":                 (*Server).drain,
	"POST /v1/resume":                (*Server).resume,
	"POST /v1/reload":                (*Server).reload,
	"POST /v1/upgrade":               (*Server).upgrade,
	"POST /v1/connections/{id}/kill": (*Server).kill,
	"POST /v1/learn":                 (*Server).learn,
	"POST /v1/learn/{id}":            (*Server).learned,
}

// newRoutes returns the mux of all operations.
func (s *Server) newRoutes() *http.ServeMux {
	routes := http.NewServeMux()
	for pattern, do := range operations {
		routes.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.run(do, w, r) })
	}
	return routes
}

// ServeHTTP implements http.Handler. The request must have come over a
// connection of the server's socket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/metrics" && s.Metrics != nil && isGet(r.Method):
		s.Metrics.ServeHTTP(w, r)
	case s.hasRoute(r):
		s.routes.ServeHTTP(w, r)
	default:
		writeAnswer(w, nil, s.noRoute(w, r))
	}
}

// hasRoute reports whether a request matches an operation. A path that is not
// canonical matches none, where http.ServeMux would redirect. An escaped slash
// would become a part of a connection's id, and no id has one.
func (s *Server) hasRoute(r *http.Request) bool {
	escaped := r.URL.EscapedPath()
	if path.Clean(escaped) != escaped || strings.Count(escaped, "/") != strings.Count(r.URL.Path, "/") {
		return false
	}
	_, pattern := s.routes.Handler(r)
	return pattern != ""
}

// noRoute returns why no operation matches a request: its path is unknown, or
// its method does not go with the path.
func (s *Server) noRoute(w http.ResponseWriter, r *http.Request) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := *r
		other.Method = method
		if s.hasRoute(&other) {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return Errorf(NotFound, "there is nothing at %s", quoted(r.URL.Path))
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	return Errorf(NotAllowed, "%s cannot be asked for with %s, only with %s", r.URL.Path, quoted(r.Method), strings.Join(allowed, " or "))
}

// run runs an operation for a client and writes the answer.
func (s *Server) run(do operation, w http.ResponseWriter, r *http.Request) {
	client := clientOf(r.Context())
	defer client.setBusy(false)
	waiter := &Waiter{w: w}
	answer, err := s.call(do, w, r.WithContext(withWaiter(r.Context(), waiter)), client)
	if waiter.detached != nil {
		waiter.answer(answer, err)
		return
	}
	if isGet(r.Method) {
		// The answer may be large. A client that reads it slowly does not count
		// as one that the master works for.
		client.setBusy(false)
	}
	writeAnswer(w, answer, err)
}

// call checks whether the client may have the operation done, reads the body,
// and calls the operation.
func (s *Server) call(do operation, w http.ResponseWriter, r *http.Request, client *client) (any, error) {
	if !isGet(r.Method) && client.peer.UID != 0 && client.peer.UID != s.self {
		return nil, Errorf(Forbidden, "only root and uid %d, which the master runs as, may do that, and not uid %d", s.self, client.peer.UID)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, Errorf(TooLarge, "the body has more than %d bytes", maxBody)
		}
		return nil, Errorf(Invalid, "read the body: %v", err)
	}
	// From here until the answer is written the client waits for the master.
	client.setBusy(true)
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	return do(s, r.WithContext(ctx), body, client.peer)
}

// encodeAnswer returns an answer or an error as JSON, and the HTTP status code.
func encodeAnswer(answer any, err error) (code int, text []byte) {
	code = http.StatusOK
	if err != nil {
		failed := asError(err)
		code = int(failed.Kind)
		answer = errorAnswer{failed.Text, failed.ConfigErrors}
	}
	text, err = json.Marshal(answer)
	if err != nil {
		code, text = int(Failed), []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	return code, append(text, '\n')
}

// writeAnswer writes an answer or an error as JSON.
func writeAnswer(w http.ResponseWriter, answer any, err error) {
	code, text := encodeAnswer(answer, err)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)))
	w.WriteHeader(code)
	_, _ = w.Write(text) // a client that has gone does not want it
	// The operation may end the master. So the answer is sent before the client
	// counts as one that the master does not work for, and may be closed.
	_ = http.NewResponseController(w).Flush()
}

type errorAnswer struct {
	Error        string   `json:"error"`
	ConfigErrors []string `json:"mistakes,omitempty"`
}

func isGet(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// parameters decodes the body of a request into a struct. The body is an object
// that has fields of the struct only, or it is empty.
func parameters(body []byte, into any) error {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, end := decoder.Token(); end != io.EOF {
			err = errors.New("there is more than one value")
		}
	}
	if err != nil {
		return Errorf(Invalid, "the body is not what is expected: %s", cut(strings.TrimPrefix(err.Error(), "json: ")))
	}
	return nil
}

// cut shortens text that a client may have made long.
func cut(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

func (s *Server) status(r *http.Request, _ []byte, _ Peer) (any, error) {
	return result(s.backend.Status(r.Context()))
}

func (s *Server) explain(r *http.Request, _ []byte, _ Peer) (any, error) {
	// URL.Query would drop what it cannot parse. The answer would then be one
	// to another question.
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, Errorf(Invalid, "the query is not what is expected: %s", cut(err.Error()))
	}
	for name, values := range query {
		switch {
		case name != "address" && name != "service":
			return nil, Errorf(Invalid, "unknown parameter %s; there are address and service", quoted(name))
		case len(values) > 1:
			return nil, Errorf(Invalid, "the parameter %s is there %d times", name, len(values))
		}
	}
	if query.Get("address") == "" {
		return nil, Errorf(Invalid, "the parameter address is missing")
	}
	return result(s.backend.Explain(r.Context(), query.Get("address"), query.Get("service")))
}

func (s *Server) logLevel(*http.Request, []byte, Peer) (any, error) {
	return LogLevel{Level: s.backend.LogLevel()}, nil
}

func (s *Server) setLogLevel(r *http.Request, body []byte, peer Peer) (any, error) {
	var p struct {
		Level string `json:"level"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	return result(s.backend.SetLogLevel(r.Context(), p.Level, peer))
}

func (s *Server) drain(r *http.Request, body []byte, peer Peer) (any, error) {
	var p struct {
		Service string `json:"service"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	return result(s.backend.Drain(r.Context(), p.Service, peer))
}

func (s *Server) resume(r *http.Request, body []byte, peer Peer) (any, error) {
	service, err := serviceParameter(body)
	if err != nil {
		return nil, err
	}
	return result(s.backend.Resume(r.Context(), service, peer))
}

func (s *Server) reload(r *http.Request, body []byte, _ Peer) (any, error) {
	if err := parameters(body, &struct{}{}); err != nil {
		return nil, err
	}
	return result(s.backend.Reload(r.Context()))
}

func (s *Server) kill(r *http.Request, body []byte, peer Peer) (any, error) {
	var p struct {
		Signal signalParameter `json:"signal"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	sig := unix.SIGTERM
	if p.Signal != "" {
		var err error
		if sig, err = ParseSignal(string(p.Signal)); err != nil {
			return nil, err
		}
	}
	return result(s.backend.Kill(r.Context(), r.PathValue("id"), sig, peer))
}

// A signalParameter is the name or the number of a signal. A number may stand
// in quotes or without them.
type signalParameter string

// UnmarshalJSON implements json.Unmarshaler.
func (p *signalParameter) UnmarshalJSON(text []byte) error {
	var number json.Number
	if json.Unmarshal(text, &number) == nil && text[0] != '"' {
		*p = signalParameter(number)
		return nil
	}
	return json.Unmarshal(text, (*string)(p))
}

// result returns the answer of the backend without its type, and nil beside an
// error.
func result[T any](answer T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return answer, nil
}
