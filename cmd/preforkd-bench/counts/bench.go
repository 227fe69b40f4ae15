package counts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/load"
	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
)

// A Subject is a server whose master is counted.
type Subject struct {
	Name string

	// Args returns what starts the server at a port of 127.0.0.1. If the server
	// can tell what its Go runtime does, it does so at another port, in the
	// form of Prometheus. It logs to its standard output or error.
	Args func(port, metrics int) []string

	// Done stands in the log once for every connection that is over.
	Done string

	// Metrics tells whether Args has a use for its second port.
	Metrics bool
}

// Conditions are what may differ between two counts of one build.
type Conditions struct {
	About  string
	Procs  int      // GOMAXPROCS of the master; 0 means 2
	Hogs   int      // programs that do nothing but compute, beside it
	Prefix []string // a command that starts the command, such as taskset
}

// A Bench counts.
type Bench struct {
	Children *proc.Children
	Dir      string // for what servers and strace write; the caller removes it
	Load     Load
	Progress func(format string, args ...any) // may be nil

	starts int
}

// Load says how many connections are made, and how long none is.
type Load struct {
	Warm   int // that do not count
	Count  int // of the first pass
	Traced int // of the second
	Idle   time.Duration
}

// DefaultLoad takes a few seconds for a subject.
var DefaultLoad = Load{Warm: 30, Count: 600, Traced: 100, Idle: 2 * time.Second}

// doneTimeout is for one connection.
const doneTimeout = time.Minute

// Count starts the subject, counts and stops it.
func (b *Bench) Count(ctx context.Context, s Subject, c Conditions) (Counts, error) {
	counted, err := b.count(ctx, s, c)
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", s.Name, err)
	}
	return counted, nil
}

func (b *Bench) count(ctx context.Context, s Subject, c Conditions) (Counts, error) {
	port, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	metrics, err := proc.FreePort()
	if err != nil {
		return nil, err
	}
	b.starts++
	log := filepath.Join(b.Dir, fmt.Sprintf("%s-%d.log", s.Name, b.starts))
	procs := max(c.Procs, 0)
	if procs == 0 {
		procs = 2
	}
	args := append([]string{"env", "GOMAXPROCS=" + strconv.Itoa(procs)}, c.Prefix...)
	hogs, err := b.startHogs(c.Hogs)
	defer hogs()
	if err != nil {
		return nil, err
	}
	running, err := b.Children.Serve(ctx, append(args, s.Args(port, metrics)...), port, log)
	if err != nil {
		return nil, err
	}
	defer running.Stop()
	r := run{ctx: ctx, server: running, addr: fmt.Sprintf("127.0.0.1:%d", port), log: log, done: []byte(s.Done)}
	if s.Metrics {
		r.metrics = fmt.Sprintf("http://127.0.0.1:%d/metrics", metrics)
	}
	counted, err := r.read(b.Load)
	if err != nil {
		return nil, err
	}
	traced, err := b.trace(ctx, running.PID(), log+".trace", func() error {
		// strace cannot let go of a master whose child is about to exec.
		return errors.Join(r.connect(b.Load.Traced), r.rest())
	})
	if err != nil {
		return nil, err
	}
	maps.Copy(counted, traced.counts(b.Load.Traced))
	return counted, running.Alive()
}

// startHogs starts programs that do nothing but compute. The caller calls
// stop, also after an error.
func (b *Bench) startHogs(n int) (stop func(), err error) {
	var stops []func()
	stop = func() {
		for _, f := range stops {
			f()
		}
	}
	for range n {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		if err := b.Children.Start(cmd); err != nil {
			return stop, fmt.Errorf("start a program that computes: %w", err)
		}
		stops = append(stops, func() {
			cmd.Process.Kill()
			b.Children.Wait(cmd)
		})
	}
	return stop, nil
}

// A run is one start of a subject.
type run struct {
	ctx     context.Context
	server  *proc.Server
	addr    string
	metrics string // URL, or empty
	log     string
	done    []byte

	logged int64 // bytes of the log that were searched
	over   int   // how often done was found in them
	begun  int   // connections that were made
}

// read is the first pass: what /proc and the metrics say.
func (r *run) read(l Load) (Counts, error) {
	if err := r.connect(l.Warm); err != nil {
		return nil, err
	}
	// What a scrape costs is found by a second one.
	first, err := r.scrape()
	if err != nil {
		return nil, err
	}
	second, err := r.scrape()
	if err != nil {
		return nil, err
	}
	before, err := r.look()
	if err != nil {
		return nil, err
	}
	if err := r.connect(l.Count); err != nil {
		return nil, err
	}
	after, err := r.look()
	if err != nil {
		return nil, err
	}
	last, err := r.scrape()
	if err != nil {
		return nil, err
	}
	n := float64(l.Count)
	counted := Counts{
		PageFaults:  (after.faults - before.faults) / n,
		Sleeps:      (after.sleeps - before.sleeps) / n,
		LogBytes:    (after.log - before.log) / n,
		Descriptors: (after.descriptors - before.descriptors) / n,
		Threads:     after.threads,
	}
	if r.metrics != "" {
		counted[Goroutines] = (last.goroutines - second.goroutines) / n
		counted[Allocations] = (last.objects - second.objects - (second.objects - first.objects)) / n
		counted[AllocatedBytes] = (last.bytes - second.bytes - (second.bytes - first.bytes)) / n
	}
	rested, err := r.look()
	if err != nil {
		return nil, err
	}
	select {
	case <-r.ctx.Done():
		return nil, context.Cause(r.ctx)
	case <-time.After(l.Idle):
	}
	idle, err := r.look()
	counted[IdleSleeps] = (idle.sleeps - rested.sleeps) / l.Idle.Seconds()
	return counted, err
}

// A look is what /proc and the log say of the master at one moment.
type look struct{ faults, sleeps, threads, descriptors, log float64 }

// look waits until the server is at rest, and looks.
func (r *run) look() (look, error) {
	var l look
	if err := r.rest(); err != nil {
		return l, err
	}
	p, err := procfs.NewProc(r.server.PID())
	if err != nil {
		return l, err
	}
	stat, err := p.Stat()
	if err != nil {
		return l, err
	}
	threads, err := procfs.AllThreads(p.PID)
	if err != nil {
		return l, err
	}
	for _, t := range threads {
		if status, err := t.NewStatus(); err == nil { // or it has ended
			l.sleeps += float64(status.VoluntaryCtxtSwitches)
		}
	}
	descriptors, err := p.FileDescriptorsLen()
	if err != nil {
		return l, err
	}
	log, err := os.Stat(r.log)
	if err != nil {
		return l, err
	}
	l.faults, l.threads, l.descriptors, l.log = float64(stat.MinFlt+stat.MajFlt), float64(stat.NumThreads), float64(descriptors), float64(log.Size())
	return l, nil
}

const (
	restTimeout = 5 * time.Second
	restFor     = 50 * time.Millisecond
)

// rest waits until the server has nothing left to do: it has at least as many
// processes as when it had just started, so its spares are there again, and for a
// while no other number. It may have more: boxes that it keeps for connections to
// come. A server that does not come to rest is counted as it is.
func (r *run) rest() error {
	r.server.Settle(r.ctx, 0)
	since, before := time.Now(), -1
	for deadline := time.Now().Add(restTimeout); time.Since(since) < restFor && time.Now().Before(deadline); time.Sleep(restFor / 10) {
		if r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
		now, atStart, err := r.server.Workers()
		if err != nil {
			return err
		}
		if now < atStart || now != before {
			since = time.Now()
		}
		before = now
	}
	return nil
}

// A scrape is what the Go runtime of the master says of itself.
type scrape struct{ objects, bytes, goroutines float64 }

// client keeps no connection: one that is kept is a descriptor of the master's.
var client = http.Client{Timeout: doneTimeout, Transport: &http.Transport{DisableKeepAlives: true}}

func (r *run) scrape() (scrape, error) {
	var s scrape
	if r.metrics == "" {
		return s, nil
	}
	response, err := client.Get(r.metrics)
	if err != nil {
		return s, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return s, fmt.Errorf("read metrics: %w", err)
	}
	values := map[string]*float64{
		"go_memstats_mallocs_total": &s.objects, "go_memstats_alloc_bytes_total": &s.bytes, "go_goroutines": &s.goroutines,
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if target := values[name]; target != nil {
			if *target, err = strconv.ParseFloat(value, 64); err != nil {
				return s, fmt.Errorf("read metrics: %w", err)
			}
			delete(values, name)
		}
	}
	if len(values) > 0 {
		return s, fmt.Errorf("read metrics: %d of those of the Go runtime are missing", len(values))
	}
	return s, nil
}

// connect makes connections, one after the other.
func (r *run) connect(n int) error {
	for range n {
		if err := r.ctx.Err(); err != nil {
			return context.Cause(r.ctx)
		}
		if err := r.exchange(); err != nil {
			return err
		}
		r.begun++
		if err := r.awaitDone(); err != nil {
			return err
		}
	}
	return nil
}

// exchange is one connection.
func (r *run) exchange() error {
	conn, err := net.DialTimeout("tcp", r.addr, doneTimeout)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(doneTimeout)); err != nil {
		return err
	}
	if _, err := conn.Write(load.Message); err != nil {
		return err
	}
	got := make([]byte, len(load.Message))
	if _, err := io.ReadFull(conn, got); err != nil {
		return fmt.Errorf("read echo: %w", err)
	}
	if !bytes.Equal(got, load.Message) {
		return fmt.Errorf("the echo is %.100q", got)
	}
	return nil
}

// awaitDone waits until the log says that all connections are over.
func (r *run) awaitDone() error {
	f, err := os.Open(r.log)
	if err != nil {
		return err
	}
	defer f.Close()
	for deadline := time.Now().Add(doneTimeout); r.over < r.begun; {
		if _, err := f.Seek(r.logged, io.SeekStart); err != nil {
			return err
		}
		text, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		// A line may be half written.
		text = text[:bytes.LastIndexByte(text, '\n')+1]
		r.logged += int64(len(text))
		r.over += bytes.Count(text, r.done)
		if r.over >= r.begun {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d connections are over after %v", r.over, r.begun, doneTimeout)
		}
		select {
		case <-r.ctx.Done():
			return context.Cause(r.ctx)
		case <-time.After(200 * time.Microsecond):
		}
	}
	return nil
}

// Varied returns the conditions under which limits are found: two runs alone,
// and what else a machine may be like.
func Varied() []Conditions {
	busy := runtime.NumCPU()
	return []Conditions{
		{About: "alone"},
		{About: "alone, again"},
		{About: "beside programs that compute", Hogs: busy},
		{About: "beside twice as many", Hogs: 2 * busy},
		{About: "on a single processor", Prefix: onOneProcessor},
	}
}

// onOneProcessor starts a command on the first processor that it may use:
// taskset(1) is in util-linux, which Debian always has.
var onOneProcessor = []string{"sh", "-c", `exec taskset -c "$(taskset -pc $$ | sed 's/.*: *//; s/[,-].*//')" "$@"`, "sh"}

// Check counts a subject and returns what is above its limit. What is above is
// counted again, up to the number of attempts, and returned when it is above
// each time. The counts are those of the last attempt.
func (b *Bench) Check(ctx context.Context, s Subject, c Conditions, recorded *Recorded, attempts int) (counted Counts, above []Excess, err error) {
	for attempt := range attempts {
		if counted, err = b.Count(ctx, s, c); err != nil {
			return nil, nil, err
		}
		found, err := recorded.Excesses(s.Name, counted)
		if err != nil {
			return nil, nil, err
		}
		if attempt > 0 {
			found = slices.DeleteFunc(found, func(e Excess) bool {
				return !slices.ContainsFunc(above, func(before Excess) bool { return before.Name == e.Name })
			})
		}
		if above = found; len(above) == 0 {
			break
		}
		if b.Progress != nil {
			b.Progress("%s, attempt %d: above: %v", s.Name, attempt+1, above)
		}
	}
	return counted, above, nil
}

// String says what is above: "calls close: 9.00, at most 8.25".
func (e Excess) String() string {
	return fmt.Sprintf("%s: %.4g, recorded %.4g, at most %.4g", e.Name, e.Count, e.Value, e.Most)
}
