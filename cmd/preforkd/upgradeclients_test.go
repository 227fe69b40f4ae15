package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/cmd/internal/systest"
	"github.com/preforkd/preforkd/master/control"
)

// dial connects to a service, and counts that.
func (l *load) dial(service string) (net.Conn, error) { return l.dialFrom("127.0.0.1", service) }

func (l *load) dialFrom(source, service string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: systest.Deadline()}
	c, err := d.DialContext(context.Background(), "tcp", l.addresses[service])
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.dialed[service]++
	l.mu.Unlock()
	return c, c.SetDeadline(time.Now().Add(systest.Deadline()))
}

// exchange sends a text and expects an answer.
func exchange(c net.Conn, send, want string) error {
	if _, err := io.WriteString(c, send); err != nil {
		return err
	}
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil {
		return fmt.Errorf("after %d of %d bytes: %w", n, len(want), err)
	}
	if string(got) != want {
		return fmt.Errorf("%q has come back, want %q", got, want)
	}
	return nil
}

// bye ends the client's direction and expects the end of the other one.
func bye(c net.Conn) error {
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	rest, err := io.ReadAll(c)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%q is left", rest)
	}
	return err
}

// words returns random text of at most this many bytes.
func words(random *rand.Rand, most int) string {
	return strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(most))
}

// short has a service send back some bytes.
func (l *load) short(service string, random *rand.Rand) error {
	c, err := l.dial(service)
	if err != nil {
		return err
	}
	defer c.Close()
	text := words(random, 10_000)
	if err := exchange(c, text, text); err != nil {
		return err
	}
	return bye(c)
}

// stream returns a client with one connection that lasts as long as the load.
func (l *load) stream(service string) *client {
	var c net.Conn
	sent := 0
	return &client{
		name: "stream " + service, pause: 5 * time.Millisecond,
		step: func(random *rand.Rand) (err error) {
			if c == nil {
				if c, err = l.dial(service); err != nil {
					return err
				}
				if service == "proxied" {
					if err := exchange(c, "PROXY TCP4 192.0.2.200 127.0.0.1 1 2\r\n", "192.0.2.200\n"); err != nil {
						return err
					}
				}
			}
			c.SetDeadline(time.Now().Add(systest.Deadline()))
			text := fmt.Sprintf("%d %s\n", sent, words(random, 2000))
			sent += len(text)
			return exchange(c, text, text)
		},
		end: func() error {
			defer c.Close()
			return bye(c)
		},
	}
}

// slowHeader sends a PROXY header byte by byte, and expects to be who it says.
func (l *load) slowHeader(random *rand.Rand) error {
	c, err := l.dial("proxied")
	if err != nil {
		return err
	}
	defer c.Close()
	who := fmt.Sprintf("192.0.2.%d", 1+random.IntN(100))
	for _, b := range []byte("PROXY TCP4 " + who + " 198.51.100.7 40000 443\r\n") {
		if _, err := c.Write([]byte{b}); err != nil {
			return err
		}
		time.Sleep(time.Duration(random.IntN(10)) * time.Millisecond)
	}
	if err := exchange(c, "", who+"\n"); err != nil {
		return err
	}
	if err := exchange(c, "hello", "hello"); err != nil {
		return err
	}
	return bye(c)
}

// halfLines has the service told write two lines to stderr, each in two pieces.
func (l *load) halfLines(random *rand.Rand) error {
	c, err := l.dial("told")
	if err != nil {
		return err
	}
	defer c.Close()
	for range 2 {
		first, second := words(random, 8)+strconv.Itoa(random.IntN(1e9)), words(random, 8)
		if err := exchange(c, first+"\n", first+"\n"); err != nil {
			return err
		}
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
		if err := exchange(c, second+"\n", second+"\n"); err != nil {
			return err
		}
		l.mu.Lock()
		l.lines[first+" half "+second+" whole"]++
		l.mu.Unlock()
	}
	return bye(c)
}

// victim learns the pid of its worker and kills it.
func (l *load) victim(service, question string) error {
	c, err := l.dial(service)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, question); err != nil {
		return err
	}
	var answer []byte
	for b := make([]byte, 1); b[0] != '\n'; answer = append(answer, b[0]) {
		if _, err := io.ReadFull(c, b); err != nil {
			return fmt.Errorf("after %q: %w", answer, err)
		}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(answer)))
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		return fmt.Errorf("kill worker %d: %w", pid, err)
	}
	l.mu.Lock()
	l.killed[service]++
	l.mu.Unlock()
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return nil
}

// guard is served by the service with a penalty, from a source that has none.
func (l *load) guard() error {
	c, err := l.dial("guard")
	if err != nil {
		return err
	}
	defer c.Close()
	return exchange(c, "0\n", "")
}

// penalize has a source get a penalty that lasts.
func (l *load) penalize() error {
	c, err := l.dialFrom(penalized, "guard")
	if err != nil {
		return err
	}
	defer c.Close()
	if err := exchange(c, "7\n", ""); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); err != nil {
		return err
	}
	l.m.WaitFor(l.t, systest.Is(systest.Penalized))
	return nil
}

// denial holds that the penalty lasts.
func (l *load) denial() error {
	c, err := l.dialFrom(penalized, "guard")
	if err != nil {
		return err
	}
	defer c.Close()
	l.mu.Lock()
	l.denied++
	l.mu.Unlock()
	// The service would wait for a word.
	if _, err := io.Copy(io.Discard, c); err != nil && !errors.Is(err, syscall.ECONNRESET) {
		return err
	}
	return nil
}

// statusReader returns a client that reads the status. Each must have an answer, which
// adds up and goes on from the one before.
func (l *load) statusReader() func(*rand.Rand) error {
	var last control.Status
	return func(*rand.Rand) error {
		client := control.NewClient(l.m.Control)
		defer client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), systest.Deadline())
		defer cancel()
		s, err := client.Status(ctx)
		if err != nil {
			return err
		}
		defer func() { last = s }()
		if s.Master.PID != l.m.PID {
			return fmt.Errorf("the pid is %d", s.Master.PID)
		}
		if err := balanced("the master", s.Master.Live, s.Master.Counts, last.Master.Counts); err != nil {
			return err
		}
		before := map[string]control.Counts{}
		for _, service := range last.Services {
			before[service.Name] = service.Counts
		}
		for _, service := range s.Services {
			if err := balanced("service "+service.Name, service.Live, service.Counts, before[service.Name]); err != nil {
				return err
			}
		}
		return nil
	}
}

// balanced holds that every accepted connection is accounted for, and that no count has
// gone back.
func balanced(whose string, live uint64, now, before control.Counts) error {
	if now.Accepted != now.Refused+now.Failed+now.Reaped+live {
		return fmt.Errorf("the counts of %s do not add up: %+v, live %d", whose, now, live)
	}
	if now.Accepted < before.Accepted || now.Refused < before.Refused || now.Failed < before.Failed || now.Reaped < before.Reaped {
		return fmt.Errorf("a count of %s has gone back: %+v, before %+v", whose, now, before)
	}
	return nil
}

// growing are the metrics that never go back in a process. Those that Go has of itself
// begin anew with each program.
var growing = regexp.MustCompile(`^preforkd_\S*_(total|count|sum|bucket)(\{.*\})? ([0-9.e+]+)$`)

// scraper returns a client that scrapes the metrics. No counter goes back or away.
func (l *load) scraper() func(*rand.Rand) error {
	last := map[string]float64{}
	transport := &http.Transport{DisableKeepAlives: true}
	return func(*rand.Rand) error {
		ctx, cancel := context.WithTimeout(context.Background(), systest.Deadline())
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.metrics+"/metrics", nil)
		if err != nil {
			return err
		}
		answer, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		if err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s, %w", answer.Status, err)
		}
		now := map[string]float64{}
		for line := range bytes.Lines(text) {
			if match := growing.FindSubmatch(bytes.TrimSpace(line)); match != nil {
				name, _, _ := cutLast(string(bytes.TrimSpace(line)), " ")
				if now[name], err = strconv.ParseFloat(string(match[3]), 64); err != nil {
					return err
				}
			}
		}
		if len(now) == 0 {
			return fmt.Errorf("no counter in %q", text)
		}
		for name, before := range last {
			if value, there := now[name]; !there || value < before {
				return fmt.Errorf("%s is %v (%v), and was %v", name, value, there, before)
			}
		}
		last = now
		return nil
	}
}
