package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A Rate is a number of events in a time, written "50/s", "10/m" or "1/h". The
// zero Rate is no limit, written "none".
type Rate struct {
	Count int
	Per   time.Duration // a second, a minute or an hour
}

// maxCount bounds the numbers of rates and bursts. With it no computation with
// a rate's intervals leaves 64 bits: a million hours in nanoseconds fit.
const maxCount = 1_000_000

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate parses the forms above.
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

// IsLimit reports whether the rate limits anything.
func (r Rate) IsLimit() bool { return r.Count > 0 }
