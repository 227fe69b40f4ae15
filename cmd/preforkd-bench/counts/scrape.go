package counts

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

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
