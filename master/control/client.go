package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"syscall"
	"time"
)

// ErrNotRunning reports that nobody listens at a control socket.
var ErrNotRunning = errors.New("no preforkd listens")

// ErrNoAnswer reports that a master closed the connection instead of an answer.
var ErrNoAnswer = errors.New("closed the connection without an answer")

// A Client sends requests to a running master over its control socket. Each of
// its errors is one line for the person who uses it. A Client may be used by
// several goroutines at once.
type Client struct {
	path string
	http http.Client
}

// maxAnswer is the maximum size of an answer in bytes. The status of some
// 100,000 connections fits.
const maxAnswer = 64 << 20

// NewClient returns a client of the master whose control socket is at path. The
// client connects with its first request. The caller must call Close.
func NewClient(path string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, dialError(path, err)
		}
		return conn, nil
	}
	return &Client{path: path, http: http.Client{Transport: &http.Transport{
		DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 1, IdleConnTimeout: idleTimeout,
	}}}
}

// Close closes the connection that is kept open for the next request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// dialError explains why the client could not connect to a control socket.
func dialError(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("%w at %s", ErrNotRunning, path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: permission denied: %s", path, describeAccess(path))
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return fmt.Errorf("connect to %s: %w", path, errno)
	}
	return fmt.Errorf("connect to %s: %w", path, err)
}

// describeAccess says who may connect to a socket, as far as a user who may not
// can find out.
func describeAccess(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "only those may connect who can enter its directory"
	}
	stat := info.Sys().(*syscall.Stat_t)
	owner, group := strconv.Itoa(int(stat.Uid)), strconv.Itoa(int(stat.Gid))
	if u, err := user.LookupId(owner); err == nil {
		owner = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	if info.Mode()&0o020 == 0 { // a connect needs the right to write (unix(7))
		return "only user " + owner + " may connect"
	}
	return "only user " + owner + " and group " + group + " may connect"
}

// Status returns the present state of the master.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.request(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Explain asks what would become of a connection from an address to a service,
// or with "" to each service.
func (c *Client) Explain(ctx context.Context, address, service string) (e Explained, err error) {
	query := url.Values{"address": {address}}
	if service != "" {
		query.Set("service", service)
	}
	return e, c.request(ctx, http.MethodGet, "/v1/explain?"+query.Encode(), nil, &e)
}

// Drain starts to stop a service, or with "" the master.
func (c *Client) Drain(ctx context.Context, service string) (d Drained, err error) {
	return d, c.request(ctx, http.MethodPost, "/v1/drain", map[string]string{"service": service}, &d)
}

// Resume brings a service back that was drained.
func (c *Client) Resume(ctx context.Context, service string) (r Resumed, err error) {
	return r, c.request(ctx, http.MethodPost, "/v1/resume", map[string]string{"service": service}, &r)
}

// Reload makes the master read its configuration again, and waits for the
// outcome.
func (c *Client) Reload(ctx context.Context) (r Reloaded, err error) {
	return r, c.request(ctx, http.MethodPost, "/v1/reload", nil, &r)
}

// Upgrade has another program take over in the master's process, and waits for the
// outcome. The error is ErrNoAnswer if the master ends without one.
func (c *Client) Upgrade(ctx context.Context, r UpgradeRequest) (u Upgraded, err error) {
	return u, c.request(ctx, http.MethodPost, "/v1/upgrade", r, &u)
}

// Kill signals the process group of the worker that serves a connection. The
// signal is a name or a number; "" is TERM.
func (c *Client) Kill(ctx context.Context, connection, signal string) (k Killed, err error) {
	return k, c.request(ctx, http.MethodPost, "/v1/connections/"+url.PathEscape(connection)+"/kill", map[string]string{"signal": signal}, &k)
}

// Learn begins to observe what new connections of a service use.
func (c *Client) Learn(ctx context.Context, service string) (l Learned, err error) {
	return l, c.request(ctx, http.MethodPost, "/v1/learn", map[string]string{"service": service}, &l)
}

// Learned returns what is known of an observation, and ends it if end says so.
func (c *Client) Learned(ctx context.Context, id string, end bool) (l Learned, err error) {
	return l, c.request(ctx, http.MethodPost, "/v1/learn/"+url.PathEscape(id), map[string]bool{"end": end}, &l)
}

// LogLevel returns the level of the master's log.
func (c *Client) LogLevel(ctx context.Context) (l LogLevel, err error) {
	return l, c.request(ctx, http.MethodGet, "/v1/log-level", nil, &l)
}

// SetLogLevel changes the level of the master's log.
func (c *Client) SetLogLevel(ctx context.Context, level string) (l LogLevel, err error) {
	return l, c.request(ctx, http.MethodPost, "/v1/log-level", map[string]string{"level": level}, &l)
}

// request sends a request and decodes the answer. When the master refuses the
// request, the error is an *Error.
func (c *Client) request(ctx context.Context, method, target string, parameters, answer any) error {
	var body io.Reader = http.NoBody
	if parameters != nil {
		text, err := json.Marshal(parameters)
		if err != nil {
			return err
		}
		body = bytes.NewReader(text)
	}
	// HTTP requires a host, which has no meaning on a unix socket.
	r, err := http.NewRequestWithContext(ctx, method, "http://preforkd"+target, body)
	if err != nil {
		return err
	}
	start := time.Now()
	response, err := c.http.Do(r)
	if err != nil {
		return c.transportError(ctx, start, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return c.transportError(ctx, start, err)
	}
	if response.StatusCode != http.StatusOK {
		var e errorAnswer
		if json.Unmarshal(text, &e) != nil || e.Error == "" {
			return fmt.Errorf("what listens at %s is no preforkd: it answers %s", c.path, quoted(response.Status))
		}
		return &Error{Kind: Kind(response.StatusCode), Text: e.Error, ConfigErrors: e.ConfigErrors}
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("what listens at %s is no preforkd that this one understands: %w", c.path, err)
	}
	return nil
}

// transportError explains why there is no answer, without the words that
// net/http puts around the cause.
func (c *Client) transportError(ctx context.Context, start time.Time, err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("the preforkd at %s has not answered within %v", c.path, time.Since(start).Round(time.Second))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return fmt.Errorf("the preforkd at %s %w; it may be ending, or has too many clients", c.path, ErrNoAnswer)
	}
	return err
}
