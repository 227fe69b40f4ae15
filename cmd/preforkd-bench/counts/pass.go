package counts

import (
	"context"
	"os"
	"time"

	"github.com/prometheus/procfs"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/proc"
)

// A run is one start of a subject.
type run struct {
	connections
	server  *proc.Server
	metrics string // URL, or empty
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
