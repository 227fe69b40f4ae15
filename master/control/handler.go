package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An operation answers one kind of request. body is what the client has sent,
// read to its end.
type operation func(s *Server, r *http.Request, body []byte, peer Peer) (any, error)

// operations are what there is to ask for, by path and method. A path may hold
// one "{id}".
var operations = map[string]map[string]operation{
	"/v1/status":                {http.MethodGet: (*Server).status},
	"/v1/explain":               {http.MethodGet: (*Server).explain},
	"/v1/log-level":             {http.MethodGet: (*Server).logLevel, http.MethodPost: (*Server).setLogLevel},
	"/v1/drain":                 {http.MethodPost: (*Server).drain},
	"/v1/reload":                {http.MethodPost: (*Server).reload},
	"/v1/connections/{id}/kill": {http.MethodPost: (*Server).kill},
}

// ServeHTTP implements http.Handler. The request must have come over a
// connection of the server's socket.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	client := clientOf(r.Context())
	if r.URL.Path == "/metrics" && s.Metrics != nil && isGet(r.Method) {
		s.Metrics.ServeHTTP(w, r)
		return
	}
	defer client.works(false)
	answer, err := s.answer(w, r, client)
	if isGet(r.Method) {
		// The answer may be large, and whoever takes his time to read it is
		// not to count as one that the master works for.
		client.works(false)
	}
	code := http.StatusOK
	if err != nil {
		failed := asError(err)
		code = int(failed.Kind)
		answer = errorAnswer{failed.Text, failed.Mistakes}
	}
	text, err := json.Marshal(answer)
	if err != nil {
		code, text = int(Failed), []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", fmt.Sprint(len(text)+1))
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // whoever has gone does not want it
	// What was done may be the end of the master: the answer goes out before
	// the connection counts as one that nobody works for.
	_ = http.NewResponseController(w).Flush()
}

type errorAnswer struct {
	Error    string   `json:"error"`
	Mistakes []string `json:"mistakes,omitempty"`
}

func isGet(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// answer finds out what is asked for and by whom, and has it done.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, client *client) (any, error) {
	methods, id := find(r.URL.Path)
	if methods == nil {
		return nil, Errorf(NotFound, "there is nothing at %s", quoted(r.URL.Path))
	}
	r.SetPathValue("id", id)
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet // net/http leaves the body out
	}
	do := methods[method]
	if do == nil {
		allowed := slices.Sorted(maps.Keys(methods))
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		return nil, Errorf(NotAllowed, "%s cannot be asked for with %s, only with %s", r.URL.Path, quoted(r.Method), strings.Join(allowed, " or "))
	}
	if method != http.MethodGet && client.peer.UID != 0 && client.peer.UID != s.self {
		return nil, Errorf(Forbidden, "only root and uid %d, which the master runs as, may do that, and not uid %d", s.self, client.peer.UID)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			return nil, Errorf(TooLarge, "the body has more than %d bytes", maxBody)
		}
		return nil, Errorf(Invalid, "read the body: %v", err)
	}
	// From here to the answer it is the master who keeps the client waiting.
	client.works(true)
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	return do(s, r.WithContext(ctx), body, client.peer)
}

// find returns the operations of a path, and the id that it holds.
func find(path string) (methods map[string]operation, id string) {
	if methods = operations[path]; methods != nil && !strings.Contains(path, "{") {
		return methods, ""
	}
	parts := strings.Split(path, "/")
	if len(parts) == 5 && parts[3] != "" {
		id, parts[3] = parts[3], "{id}"
		return operations[strings.Join(parts, "/")], id
	}
	return nil, ""
}

// parameters reads the body of a request: an object with these fields and no
// others, or nothing at all.
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

// cut shortens what a client may have made long.
func cut(s string) string {
	const limit = 200
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

func (s *Server) status(r *http.Request, _ []byte, _ Peer) (any, error) {
	return answered(s.master.Status(r.Context()))
}

func (s *Server) explain(r *http.Request, _ []byte, _ Peer) (any, error) {
	// URL.Query would leave out what it cannot parse, and so answer another
	// question than the one that was asked.
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
	return answered(s.master.Explain(r.Context(), query.Get("address"), query.Get("service")))
}

func (s *Server) logLevel(*http.Request, []byte, Peer) (any, error) {
	return LogLevel{Level: s.master.LogLevel()}, nil
}

func (s *Server) setLogLevel(r *http.Request, body []byte, peer Peer) (any, error) {
	var p struct {
		Level string `json:"level"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	return answered(s.master.SetLogLevel(r.Context(), p.Level, peer))
}

func (s *Server) drain(r *http.Request, body []byte, peer Peer) (any, error) {
	var p struct {
		Service string `json:"service"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	return answered(s.master.Drain(r.Context(), p.Service, peer))
}

func (s *Server) reload(r *http.Request, body []byte, _ Peer) (any, error) {
	if err := parameters(body, &struct{}{}); err != nil {
		return nil, err
	}
	return answered(s.master.Reload(r.Context()))
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
	return answered(s.master.Kill(r.Context(), r.PathValue("id"), sig, peer))
}

// A signalParameter is a signal by its name or its number, in quotes or not.
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

// answered keeps a typed answer from standing beside an error.
func answered[T any](answer T, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return answer, nil
}
