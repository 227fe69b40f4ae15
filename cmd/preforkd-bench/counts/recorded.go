package counts

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
)

// Format is the version of the file. A file of another version is refused.
const Format = 1

// Recorded is the file of recorded counts.
type Recorded struct {
	Format   int                         `json:"format"`
	About    string                      `json:"about"`
	Go       string                      `json:"go"`       // with which preforkd was built
	Platform string                      `json:"platform"` // operating system and architecture
	PageSize int                         `json:"page_size"`
	Subjects map[string]map[string]Limit `json:"subjects"`
}

const about = "What the master does for one connection, counted. Written by `preforkd-bench counts --record`; the comment of package counts says how values and limits are found."

// A Limit is what was recorded of one count.
type Limit struct {
	Value float64 // the median
	Most  float64 // more than this fails
}

// limitForm is how a limit is kept: one line, readable in a diff.
const limitForm = "%.4g, at most %.4g"

// MarshalText implements encoding.TextMarshaler.
func (l Limit) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, limitForm, l.Value, l.Most), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (l *Limit) UnmarshalText(text []byte) error {
	if _, err := fmt.Sscanf(string(text), "%g, at most %g", &l.Value, &l.Most); err != nil {
		return fmt.Errorf("parse %q: want a form like %q: %w", text, "3, at most 3.25", err)
	}
	return nil
}

// NewRecorded returns a file without subjects, made on this machine.
func NewRecorded() *Recorded {
	return &Recorded{
		Format: Format, About: about, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		PageSize: os.Getpagesize(), Subjects: make(map[string]map[string]Limit),
	}
}

// Set replaces what is recorded of a subject by limits for the samples.
func (r *Recorded) Set(subject string, samples []Counts) {
	limits := make(map[string]Limit)
	for _, name := range names(samples...) {
		var values []float64
		for _, c := range samples {
			values = append(values, c[name]) // what was not seen is 0
		}
		limits[name] = limitOf(name, values)
	}
	r.Subjects[subject] = limits
}

// limitOf returns the limit that a count's samples ask for. There is at least one.
func limitOf(name string, values []float64) Limit {
	slices.Sort(values)
	median := values[len(values)/2]
	lowest, largest := values[0], values[len(values)-1]
	m := marginOf(name)
	return Limit{Value: median, Most: largest + max((largest-lowest)/2, m.least, m.part*median)}
}

// An Excess is a count above its limit.
type Excess struct {
	Name  string
	Count float64
	Limit
}

// String says what is above: "calls close: 9.00, at most 8.25".
func (e Excess) String() string {
	return fmt.Sprintf("%s: %.4g, recorded %.4g, at most %.4g", e.Name, e.Count, e.Value, e.Most)
}

// Excesses compares counts of a subject with what was recorded of it. A system
// call that was never recorded is one of which there should be none.
func (r *Recorded) Excesses(subject string, c Counts) ([]Excess, error) {
	limits, ok := r.Subjects[subject]
	if !ok {
		return nil, fmt.Errorf("nothing is recorded of %s", subject)
	}
	var found []Excess
	for _, name := range names(c) {
		limit, ok := limits[name]
		if !ok {
			limit = limitOf(name, []float64{0})
		}
		if !(c[name] <= limit.Most) {
			found = append(found, Excess{name, c[name], limit})
		}
	}
	for name := range limits {
		if _, ok := c[name]; !ok && !isCall(name) {
			return nil, fmt.Errorf("%s of %s was not counted", name, subject)
		}
	}
	return found, nil
}

// Here returns an error when the recorded counts are of a machine whose counts
// are others: page faults depend on the size of a page, system calls on the
// architecture.
func (r *Recorded) Here() error {
	here := NewRecorded()
	if r.Platform != here.Platform || r.PageSize != here.PageSize {
		return fmt.Errorf("the counts were recorded on %s with pages of %d bytes; this is %s with pages of %d", r.Platform, r.PageSize, here.Platform, here.PageSize)
	}
	return nil
}

// Read reads recorded counts from a file.
func Read(path string) (*Recorded, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read recorded counts: %w", err)
	}
	var r Recorded
	if err := json.Unmarshal(content, &r); err != nil {
		return nil, fmt.Errorf("read recorded counts: %s: %w", path, err)
	}
	if r.Format != Format {
		return nil, fmt.Errorf("read recorded counts: %s has format %d, this program reads %d", path, r.Format, Format)
	}
	return &r, nil
}

// Save writes recorded counts to a file.
func (r *Recorded) Save(path string) error {
	content, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return fmt.Errorf("write recorded counts: %w", err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o644); err != nil {
		return fmt.Errorf("write recorded counts: %w", err)
	}
	return nil
}
