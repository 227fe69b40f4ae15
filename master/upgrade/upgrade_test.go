package upgrade

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/workers"
)

func TestMemfdIsSealed(t *testing.T) {
	t.Parallel()
	f, err := newMemfd()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := readSealed(int(f.Fd())); err == nil || !strings.Contains(err.Error(), "not sealed") {
		t.Errorf("what is not sealed was read: %v", err)
	}
	if err := writeSealed(f, []byte("state")); err != nil {
		t.Fatal(err)
	}
	if data, err := readSealed(int(f.Fd())); err != nil || string(data) != "state" {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("a sealed state was changed")
	}
	if err := f.Truncate(0); err == nil {
		t.Error("a sealed state was cut")
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := readSealed(int(null.Fd())); err == nil {
		t.Error("a device was taken for a state")
	}
}

func TestCommonFormat(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		own, others []int
		want        int
		err         string
	}{
		{[]int{1}, []int{1}, 1, ""},
		{[]int{1}, []int{2, 1}, 1, ""}, // to a newer version
		{[]int{2, 1}, []int{1}, 1, ""}, // and back
		{[]int{2, 1}, []int{2, 1}, 2, ""},
		{[]int{3, 2, 1}, []int{1, 2}, 2, ""},
		{[]int{2, 1}, []int{4, 3}, 0, "it reads format 4, 3 of the state, and this version writes 2, 1"},
		{[]int{1}, nil, 0, "it reads format none of the state, and this version writes 1"},
	} {
		got, err := common(c.own, c.others)
		if got != c.want || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%v and %v: %d, %v", c.own, c.others, got, err)
		}
	}
}

// A header is read although it has fields that are not known, and a body is not.
func TestUnknownFields(t *testing.T) {
	t.Parallel()
	h, s, err := Decode([]byte(`{"format":1,"version":"9","what":1}` + "\n" + `{}`))
	if err != nil || h.Version != "9" || s == nil {
		t.Errorf("%v, %v, %v", h, s, err)
	}
	for text, want := range map[string]string{
		"":                                     "no header",
		"{}":                                   "no header",
		"x\n{}":                                "header of the state",
		`{"format":0}` + "\n{}":                "format 0",
		`{"format":99,"version":"9"}` + "\n{}": "format 99",
		`{"format":1,"version":"9"}` + "\n" + `{"what":1}`:                                            `unknown field "what"`,
		`{"format":1,"version":"9"}` + "\n" + `{} {}`:                                                 "something follows",
		`{"format":1,"version":"9"}` + "\n" + `{}}`:                                                   "something follows",
		`{"format":1,"version":"9"}` + "\n" + `{"specs":1}`:                                           "state of 9 in format 1",
		`{"format":1,"version":"9"}` + "\n{\"workers\":{}}\n" + `[{"pid":2}]` + "\n" + `[{"what":1}]`: `unknown field "what"`,
		`{"format":1,"version":"9"}` + "\n{\"workers\":{}}\n" + `[{"pid":2}] []`:                      "something follows",
		`{"format":1,"version":"9"}` + "\n{\"workers\":{}}\n":                                         "EOF",
		`{"format":1,"version":"9"}` + "\n{}\n" + `[{"pid":2}]`:                                       "nothing is said",
	} {
		if _, s, err := Decode([]byte(text)); err == nil || s != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Workers of several lines stay in their order, and a line with a mistake is no trouble for
// the next State.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	s := &State{Workers: &workers.SetState{}}
	for pid := range 5*workersPerLine + 1 {
		s.Workers.Workers = append(s.Workers.Workers, workers.WorkerState{PID: pid})
	}
	for range 3 {
		data, err := Encode(&Header{Format: 1}, s)
		if err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(data, []byte{'\n'}) + 1; lines != 8 {
			t.Errorf("the state has %d lines", lines)
		}
		if _, again, err := Decode(data); err != nil || !slices.Equal(pids(again), pids(s)) {
			t.Errorf("%v, %v", pids(again), err)
		}
		if _, again, err := Decode(bytes.Replace(data, []byte(`"pid":100,`), []byte(`"pid":"100",`), 1)); err == nil {
			t.Errorf("decoded: %v", pids(again))
		}
	}
	if len(pids(s)) != 5*workersPerLine+1 {
		t.Errorf("encoding has changed the State: %v", pids(s))
	}
}

func pids(s *State) (pids []int) {
	for _, w := range s.Workers.Workers {
		pids = append(pids, w.PID)
	}
	return pids
}

func TestRehearsalArguments(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, want string }{
		{"preforkd serve", "preforkd serve --check-handover"},
		{"preforkd serve --config c -- serve serve", "preforkd serve --check-handover --config c -- serve serve"},
	} {
		if got := strings.Join(rehearsalArguments(strings.Fields(c.args)), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
}

func TestOpenBinary(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "regular file",
		plain:                      "cannot be executed",
		fifo:                       "regular file",
	} {
		if f, err := OpenBinary(path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, f, err)
		}
	}
	own, err := Own()
	if err != nil {
		t.Fatal(err)
	}
	own.Close()
}

// A panic on another goroutine is one of whoever waits for it, who can go back.
func TestPanicWhileDecoding(t *testing.T) {
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), "out of order") {
			t.Errorf("it panics with %v", p)
		}
	}()
	_ = forEach(10, func(i int) error {
		if i == 7 {
			panic("out of order")
		}
		return nil
	})
	t.Error("it does not panic")
}

// A reason fits into an environment variable, whatever it is.
func TestLongReason(t *testing.T) {
	f := &Failure{StepConfig, OneLine(strings.Repeat("a\x00\n", 100_000))}
	cmd := exec.Command("true")
	cmd.Env = []string{envFailed + "=" + f.Error()}
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
}
