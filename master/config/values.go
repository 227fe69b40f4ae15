package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Rate is a number of events in a period, written "50/s", "10/m" or "1/h".
// The zero Rate means no limit, and is written "none".
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

// maxCount is the highest number in a rate or burst. With it computations with
// a rate's intervals fit into 64 bits, as a million hours in nanoseconds do.
const maxCount = 1_000_000

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate parses one of the forms of a Rate.
func ParseRate(s string) (Rate, error) {
	if s == "none" {
		return Rate{}, nil
	}
	count, unit, _ := strings.Cut(s, "/")
	n, err := strconv.ParseUint(count, 10, 32)
	per, ok := rateUnits[unit]
	if err != nil || !ok || n == 0 || n > maxCount {
		return Rate{}, fmt.Errorf(`must be a rate such as "50/s", "10/m" or "1/h", with a number from 1 to %d, or "none"`, maxCount)
	}
	return Rate{int(n), per}, nil
}

func (r Rate) String() string {
	for unit, per := range rateUnits {
		if r.Per == per {
			return strconv.Itoa(r.Count) + "/" + unit
		}
	}
	return "none"
}

// IsLimit reports whether the rate is a limit.
func (r Rate) IsLimit() bool { return r.Count > 0 }

// A Drop makes a service refuse connections at random before it is full. At
// Start live connections it refuses Percent of the new ones. The share rises
// evenly to all of them at Full. A Drop is written "start:percent:full", like
// MaxStartups in sshd_config(5), or "none". The zero Drop refuses nothing.
type Drop struct{ Start, Percent, Full int }

// ParseDrop parses one of the forms of a Drop.
func ParseDrop(s string) (Drop, error) {
	if s == "none" {
		return Drop{}, nil
	}
	var d Drop
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return Drop{}, fmt.Errorf(`must be "start:percent:full", for instance "50:30:200", or "none"`)
	}
	for i, field := range []*int{&d.Start, &d.Percent, &d.Full} {
		n, err := strconv.ParseUint(parts[i], 10, 31)
		if err != nil {
			return Drop{}, fmt.Errorf(`must be "start:percent:full" in whole numbers, for instance "50:30:200", or "none"`)
		}
		*field = int(n)
	}
	switch {
	case d.Start < 1:
		return Drop{}, fmt.Errorf("start must be at least 1")
	case d.Percent < 1 || d.Percent > 100:
		return Drop{}, fmt.Errorf("percent must be from 1 to 100")
	case d.Full < d.Start:
		return Drop{}, fmt.Errorf("full must not be less than start")
	}
	return d, nil
}

func (d Drop) String() string {
	if d == (Drop{}) {
		return "none"
	}
	return fmt.Sprintf("%d:%d:%d", d.Start, d.Percent, d.Full)
}

// A FileMode is the permission bits of a socket file, or a umask. It is written
// as a string of octal digits. An integer of TOML is decimal, and so 660 would
// mean something else without an error. The zero FileMode is not set.
type FileMode struct {
	Set  bool
	Bits uint32
}

// ParseFileMode parses octal digits. The empty string is a mode that is not
// set.
func ParseFileMode(s string) (FileMode, error) {
	if s == "" {
		return FileMode{}, nil
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return FileMode{}, fmt.Errorf(`must be octal digits from "000" to "777"`)
	}
	return FileMode{true, uint32(n)}, nil
}

func (m FileMode) String() string {
	if !m.Set {
		return ""
	}
	return fmt.Sprintf("%03o", m.Bits)
}

// An OptionalInt is a number, or none.
type OptionalInt struct {
	Set   bool
	Value int
}
