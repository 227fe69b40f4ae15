package upgrade

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/preforkd/preforkd/master/workers"
)

// A State is written in lines, so that all processors write and read it: nobody is accepted
// meanwhile. The first line has all but the live workers, of which it mostly consists, and
// each of the others has up to workersPerLine of them.
const workersPerLine = 64

// encodeLines writes the lines of the newest format.
func encodeLines(s *State) (lines [][]byte, err error) {
	first := *s
	values := []any{&first}
	if s.Workers != nil {
		set := *s.Workers
		first.Workers, set.Workers = &set, nil
		for some := range slices.Chunk(s.Workers.Workers, workersPerLine) {
			values = append(values, some)
		}
	}
	lines = make([][]byte, len(values))
	err = forEach(len(values), func(i int) (err error) {
		lines[i], err = json.Marshal(values[i])
		return err
	})
	return lines, err
}

// decodeLines reads what encodeLines has written.
func decodeLines(body []byte, s *State) error {
	lines := bytes.Split(body, []byte{'\n'})
	some := make([][]workers.WorkerState, len(lines)-1)
	if err := forEach(len(lines), func(i int) error {
		if i == 0 {
			return decodeStrictly(lines[0], s)
		}
		return decodeStrictly(lines[i], &some[i-1])
	}); err != nil || len(some) == 0 {
		return err
	}
	if s.Workers == nil {
		return errors.New("there are workers, and nothing is said of all of them")
	}
	s.Workers.Workers = slices.Concat(append([][]workers.WorkerState{s.Workers.Workers}, some...)...)
	return nil
}

// forEach calls f with the numbers below n, on all processors, and returns the error of
// the lowest one that has one. It panics if f does, so that whoever has called it can go
// back.
func forEach(n int, f func(i int) error) error {
	errs := make([]error, n)
	var next atomic.Int64
	var panicked atomic.Value // of string
	var all sync.WaitGroup
	for range min(n, runtime.GOMAXPROCS(0)) {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(fmt.Sprintf("%v\n%s", p, debug.Stack()))
				}
			}()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				errs[i] = f(i)
			}
		})
	}
	all.Wait()
	if p := panicked.Load(); p != nil {
		panic(p)
	}
	return cmp.Or(errs...)
}

// decodeStrictly refuses what it does not know: it would be lost.
func decodeStrictly(line []byte, into any) error {
	d := decoders.Get().(*decoder)
	d.line.Reset(line)
	begin := d.InputOffset()
	if err := d.Decode(into); err != nil {
		return err
	}
	if n := int(d.InputOffset() - begin); n != len(line) {
		return fmt.Errorf("something follows at byte %d of a line", n)
	}
	decoders.Put(d)
	return nil
}

// A decoder decodes line after line. It copies each into the same buffer.
type decoder struct {
	*json.Decoder
	line bytes.Reader
}

var decoders = sync.Pool{New: func() any {
	d := &decoder{}
	d.Decoder = json.NewDecoder(&d.line)
	d.DisallowUnknownFields()
	return d
}}
