package control

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// statusNames are all names of the JSON form. Programs rely on them. A name may
// be added here. No name may be changed or removed.
const statusNames = `
connections connections.accepted connections.age connections.bytes_in connections.bytes_out connections.client_gone connections.cpu
connections.id connections.local connections.peer connections.pid connections.rss connections.service
connections.state connections.version connections.via
master master.accepted master.config master.failed master.generation master.live master.log_level master.not_reloaded
master.open_files master.pid
master.problems master.problems.reason master.problems.service master.reaped master.refused master.rss
master.started master.state master.sys_time master.upgrades master.upgrades.count master.upgrades.failed
master.upgrades.last master.upgrades.last.at master.upgrades.last.duration master.upgrades.last.from master.upgrades.last.to
master.upgrades.last_failure master.upgrades.last_failure.at master.upgrades.last_failure.reason
master.upgrades.last_failure.step master.upgrades.last_failure.to
master.uptime master.user_time master.version
services services.accepted services.box services.box.missing services.box.missing.key services.box.missing.reason services.box.summary
 services.failed services.failed_by_cause services.full_seconds services.full_since services.handler services.handoff
services.handover_latency services.handover_latency.count services.handover_latency.p50
services.handover_latency.p99 services.handover_latency.sum
services.limit services.listeners services.listeners.backlog services.listeners.local services.listeners.queue
services.live services.name services.penalized services.reaped services.refused services.refused_by_reason
services.slots services.sources services.spares services.spares.max services.spares.min services.spares.ready
services.spares.starting
services.spawn_latency services.spawn_latency.count services.spawn_latency.p50 services.spawn_latency.p99
services.spawn_latency.sum services.state
services.work services.work.bytes_in services.work.bytes_out services.work.durations services.work.leftovers
services.work.durations.count services.work.durations.sum services.work.exits services.work.exits.code
services.work.exits.count services.work.exits.signal services.work.max_rss services.work.max_rss.count
services.work.max_rss.sum services.work.sys_time services.work.user_time
taken
`

func TestNamesOfStatus(t *testing.T) {
	var s Status
	fill(reflect.ValueOf(&s).Elem())
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var value any
	if err := json.Unmarshal(text, &value); err != nil {
		t.Fatal(err)
	}
	got := namesIn(value, "")
	slices.Sort(got)
	want := strings.Fields(statusNames)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the names are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// fill gives every optional part of a value some content.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i))
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	}
}

// namesIn returns the names in a JSON value, each with the names of the objects
// that contain it.
func namesIn(value any, above string) (names []string) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			names = append(names, above+name)
			names = append(names, namesIn(inner, above+name+".")...)
		}
	case []any:
		for _, inner := range value {
			names = append(names, namesIn(inner, above)...)
		}
	}
	return names
}
