package config

import (
	"fmt"
	"strconv"
	"strings"
)

// A Drop says from when on connections are refused at random, before a service
// is full: from Start live connections on with a chance of Percent, rising
// evenly to all of them at Full. It is written "start:percent:full", as
// sshd_config(5) writes its MaxStartups, or "none". The zero Drop drops nothing.
type Drop struct{ Start, Percent, Full int }

// ParseDrop parses the forms above.
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
