package ipc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var assignment = Assignment{
	Connection: "mh3k2p9x-17",
	Service:    "echo",
	Peer:       "[2001:db8::1]:40404",
	Local:      "[::1]:7007",
	Settings:   []Pair{{"quit-word", "exit"}, {"zero", ""}},
	Limits:     Limits{Idle: time.Minute, Lifetime: time.Hour},
	Reusable:   true,

	Environment: []string{"PROTO=TCP", "EMPTY="},
}

func TestAssignmentRoundTrip(t *testing.T) {
	for _, want := range []Assignment{{}, assignment} {
		msg, err := want.Append([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		typ, body, err := Parse(bytes.TrimPrefix(msg, []byte("before")))
		if typ != TypeAssignment || err != nil {
			t.Fatalf("Parse: type %v, error %v", typ, err)
		}
		got, err := DecodeAssignment(body)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
	if got := assignment.Setting("quit-word"); got != "exit" {
		t.Errorf("Setting(quit-word) = %q", got)
	}
	if got := assignment.Setting("none"); got != "" {
		t.Errorf("Setting(none) = %q", got)
	}
}

func TestReportRoundTrip(t *testing.T) {
	for _, want := range []Report{{}, {BytesIn: 1, BytesOut: MaxBytes, Reason: ReasonQuitWord, Values: []Pair{{"user", "joe"}}}} {
		msg, err := want.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		typ, body, err := Parse(msg)
		if typ != TypeReport || err != nil {
			t.Fatalf("Parse: type %v, error %v", typ, err)
		}
		if got, err := DecodeReport(body); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}

func TestTooLargeIsRefusedBeforeItIsSent(t *testing.T) {
	for _, n := range []int{MaxMessage, 1 << 16, 1 << 20} {
		a := Assignment{Peer: strings.Repeat("x", n)}
		if _, err := a.Append(nil); !errors.Is(err, ErrTooLarge) {
			t.Errorf("assignment with a peer of %d bytes: %v", n, err)
		}
	}
}

// The bounds of a report are checked by the sender and by the receiver.
func TestReportBounds(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	for name, r := range map[string]Report{
		"too many bytes":  {BytesOut: MaxBytes + 1},
		"long reason":     {Reason: Reason(long(maxReason + 1))},
		"empty key":       {Values: []Pair{{"", "x"}}},
		"long key":        {Values: []Pair{{long(MaxKey + 1), "x"}}},
		"key in capitals": {Values: []Pair{{"User", "x"}}},
		"key with a dot":  {Values: []Pair{{"a.b", "x"}}},
		"long value":      {Values: []Pair{{"user", long(MaxValue + 1)}}},
		"many values":     {Values: slices.Repeat([]Pair{{"user", "x"}}, MaxValues+1)},
	} {
		if _, err := r.Append(nil); err == nil {
			t.Errorf("%s: encoded", name)
		}
		body := binary.LittleEndian.AppendUint64(nil, r.BytesIn)
		body = binary.LittleEndian.AppendUint64(body, r.BytesOut)
		body = appendString(body, string(r.Reason))
		if _, err := DecodeReport(appendPairs(body, r.Values)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: decoded: %v", name, err)
		}
	}
	r := Report{Reason: Reason(long(maxReason)), Values: slices.Repeat([]Pair{{long(MaxKey), long(900)}}, MaxValues)}
	if _, err := r.Append(nil); err != nil {
		t.Errorf("within the bounds: %v", err)
	}
}

func TestLimitsAreKeptInMilliseconds(t *testing.T) {
	for limit, want := range map[time.Duration]time.Duration{
		0:                             0,
		-1:                            0,
		1:                             time.Millisecond,
		time.Millisecond:              time.Millisecond,
		1500 * time.Microsecond:       2 * time.Millisecond,
		math.MaxInt64:                 math.MaxInt64 / time.Millisecond * time.Millisecond,
		math.MaxInt64 - 2*time.Second: (math.MaxInt64 - 2*time.Second) / time.Millisecond * time.Millisecond,
	} {
		a := Assignment{Limits: Limits{Idle: limit}}
		msg, err := a.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeAssignment(msg[headerSize:])
		if err != nil || (got.Limits.Idle != want && got.Limits.Idle != want+time.Millisecond) || got.Limits.Idle < 0 {
			t.Errorf("%v: decoded as %v, %v; want %v", limit, got.Limits.Idle, err, want)
		}
	}
}

func TestParseRejects(t *testing.T) {
	good, err := assignment.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	edit := func(at int, b byte) []byte {
		msg := bytes.Clone(good)
		msg[at] = b
		return msg
	}
	for name, c := range map[string]struct {
		datagram []byte
		want     error
	}{
		"nothing":       {nil, ErrMalformed},
		"short header":  {good[:headerSize-1], ErrMalformed},
		"other magic":   {edit(0, 'x'), ErrMalformed},
		"other version": {edit(2, Protocol+1), ErrVersion},
		"cut body":      {good[:len(good)-1], ErrMalformed},
		"longer body":   {append(bytes.Clone(good), 0), ErrMalformed},
		"absurd length": {edit(7, 0xff), ErrMalformed},
		"drain's body":  {[]byte("pf\x01\x05\x01\x00\x00\x00x"), ErrMalformed},
	} {
		if _, _, err := Parse(c.datagram); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// A decoder must reject these bodies with any header.
func TestDecodeRejects(t *testing.T) {
	msg, err := assignment.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	body := msg[headerSize:]
	for n := range body {
		if _, err := DecodeAssignment(body[:n]); !errors.Is(err, ErrMalformed) {
			t.Errorf("assignment cut to %d of %d bytes: %v", n, len(body), err)
		}
	}
	if _, err := DecodeAssignment(append(bytes.Clone(body), 0)); !errors.Is(err, ErrMalformed) {
		t.Errorf("assignment with a surplus byte: %v", err)
	}
	if _, err := DecodeReport(make([]byte, 17)); !errors.Is(err, ErrMalformed) {
		t.Errorf("report cut short: %v", err)
	}
}

// FuzzMessage passes whole datagrams to every decoder. A decoded message must encode to
// the same bytes again, because each message has only one encoding.
func FuzzMessage(f *testing.F) {
	a, _ := assignment.Append(nil)
	r, _ := (&Report{BytesIn: 5, BytesOut: 5, Reason: ReasonEOF}).Append(nil)
	f.Add(a)
	f.Add(r)
	failure, _ := (&Failure{FailedExec, unix.ENOEXEC}).Append(nil)
	f.Add(failure)
	f.Add(Ready)
	f.Add(Ack)
	f.Add(Drain)
	f.Add([]byte("pf\x01\x01\x02\x00\x00\x00\xff\xff"))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		typ, body, err := Parse(datagram)
		if err != nil {
			return
		}
		var again []byte
		switch typ {
		case TypeAssignment:
			a, err := DecodeAssignment(body)
			if err != nil {
				return
			}
			again, err = a.Append(nil)
			if errors.Is(err, ErrTooLarge) {
				return
			}
		case TypeReport:
			r, err := DecodeReport(body)
			if err != nil {
				return
			}
			again, _ = r.Append(nil)
		case TypeFailed:
			failure, err := DecodeFailure(body)
			if err != nil {
				return
			}
			again, _ = failure.Append(nil)
		case TypeReady, TypeAck, TypeDrain:
			// Receivers do not read the body of these messages. It must be empty, so
			// that there is only one encoding.
			if len(body) > 0 {
				t.Errorf("%v with a body of %d bytes", typ, len(body))
			}
			again = appendHeader(nil, typ)
		default:
			return
		}
		if !bytes.Equal(again, datagram) {
			t.Errorf("%q encodes to %q", datagram, again)
		}
	})
}

func BenchmarkAppendAssignment(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, MaxMessage)
	for b.Loop() {
		if _, err := assignment.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeAssignment(b *testing.B) {
	msg, err := assignment.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, body, err := Parse(msg)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeAssignment(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendReport(b *testing.B) {
	report := Report{BytesIn: 64, BytesOut: 64, Reason: ReasonEOF}
	b.ReportAllocs()
	buf := make([]byte, 0, MaxMessage)
	for b.Loop() {
		if _, err := report.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecodeReport(b *testing.B) {
	msg, err := (&Report{BytesIn: 64, BytesOut: 64, Reason: ReasonEOF}).Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_, body, err := Parse(msg)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := DecodeReport(body); err != nil {
			b.Fatal(err)
		}
	}
}
