package workers

import (
	"reflect"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
)

// The event of a connection's end has what is known, and nothing for the rest.
func TestOutcomeFields(t *testing.T) {
	for _, test := range []struct {
		outcome Outcome
		want    map[string]any
	}{
		{Outcome{}, map[string]any{}},
		{Outcome{Limits: []string{LimitCPU, LimitMemory}}, map[string]any{"limit": "cpu,memory"}},
		{Outcome{Limits: []string{LimitDenied}}, map[string]any{"limit": "denied", "denied": "system call"}},
		{Outcome{Limits: []string{LimitDenied}, Denied: []string{"bpf", "mount"}}, map[string]any{"limit": "denied", "denied": "bpf,mount"}},
		{
			Outcome{OOMKills: 1, MemoryPeak: 2, TasksPeak: 3, CPUTime: time.Second},
			map[string]any{"oom": uint64(1), "memory_peak": uint64(2), "tasks_peak": int64(3), "cpu_time": time.Second},
		},
	} {
		to := zapcore.NewMapObjectEncoder()
		for _, field := range test.outcome.Fields() {
			field.AddTo(to)
		}
		if !reflect.DeepEqual(to.Fields, test.want) {
			t.Errorf("%+v:\n got %v\nwant %v", test.outcome, to.Fields, test.want)
		}
	}
}
