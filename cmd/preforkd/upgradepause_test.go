package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

// The pause of an upgrade is measured, and told by the test. How long it may be depends on
// the machine. It has the master's processors to itself: the test is not parallel.
func TestUpgradePause(t *testing.T) {
	connections, upgrades := 20, 2
	if longRounds(t) > 0 {
		connections, upgrades = 1000, 10
	}
	here := install(t, versionOne)
	m := systest.Options{
		Program: here.preforkd(), Config: single(catting, fmt.Sprintf("max-connections = %d", connections)),
	}.Start(t)
	var clients []*systest.Client
	for range connections {
		c := m.Dial(t)
		c.Echo(t, "hello")
		clients = append(clients, c)
	}
	var pauses []time.Duration
	for i := range upgrades {
		version := systest.Versions[1-i%2]
		here.replace(t, version)
		o := upgradeMaster(t, m)
		var e struct {
			Pause   float64 `json:"pause"` // s
			Workers int     `json:"workers"`
		}
		if err := json.Unmarshal([]byte(o.event.Line), &e); err != nil || o.event.Msg != upgraded || e.Workers != connections || e.Pause <= 0 {
			t.Fatalf("want an upgrade with %d workers and a pause: %v, %s%s", connections, err, o.event.Line, o.result.Stderr)
		}
		pauses = append(pauses, time.Duration(e.Pause*float64(time.Second)))
	}
	slices.Sort(pauses)
	t.Logf("%d upgrades with %d workers: nothing was accepted for %v to %v, the median is %v",
		upgrades, connections, pauses[0], pauses[len(pauses)-1], pauses[len(pauses)/2])
	for _, c := range clients {
		c.Echo(t, "still here")
		c.Close()
	}
}
