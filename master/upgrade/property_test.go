package upgrade

import (
	"bytes"
	"encoding/json"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/master/carry"
)

// What is encoded in any format is decoded as it was.
func TestEncodeDecode(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h, s := Header{}, &State{}
		draw(t, reflect.ValueOf(&h).Elem(), "header")
		draw(t, reflect.ValueOf(s).Elem(), "state")
		h.Format = rapid.SampledFrom(Formats()).Draw(t, "format")
		data, err := Encode(&h, s)
		if err != nil {
			t.Fatal(err)
		}
		hAgain, again, err := Decode(data)
		if err != nil {
			t.Fatalf("%v\n%s", err, data)
		}
		if diff := cmp.Diff(h, hAgain, alike); diff != "" {
			t.Errorf("header:\n%s", diff)
		}
		if diff := cmp.Diff(s, again, alike); diff != "" {
			t.Errorf("state:\n%s", diff)
		}
	})
}

// FuzzDecode decodes anything: it is an error, or a State that stays the same.
func FuzzDecode(f *testing.F) {
	for _, format := range Formats() {
		addParts(f, readGolden(f, format))
	}
	f.Add([]byte(`{"format":1}` + "\n" + `{"workers":null,"specs":[{}],"sockets":{"order":null,"listeners":[{"heir":-1}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, s, err := Decode(data)
		if err != nil {
			if s != nil {
				t.Error("there is an error and a State")
			}
			return
		}
		once, err := Encode(&h, s)
		if err != nil {
			t.Fatal(err)
		}
		h, s, err = Decode(once)
		if err != nil {
			t.Fatalf("%v\n%s", err, once)
		}
		twice, err := Encode(&h, s)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(once, twice) {
			t.Errorf("%s\nhas become\n%s", once, twice)
		}
	})
}

// addParts adds a file as seeds with one field of the State each. The fuzzer makes each
// input that finds something as small as it can, and with a whole State it does little
// else.
func addParts(f *testing.F, data []byte) {
	h, body, err := split(data)
	if err != nil {
		f.Fatal(err)
	}
	first, live, _ := bytes.Cut(body, []byte{'\n'})
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(first, &parts); err != nil {
		f.Fatal(err)
	}
	for name, part := range parts {
		line, err := json.Marshal(map[string]json.RawMessage{name: part})
		if err != nil {
			f.Fatal(err)
		}
		lines := [][]byte{line}
		if name == "workers" {
			lines = append(lines, live)
		}
		data, err := join(&Header{Format: h.Format}, lines...)
		if err != nil {
			f.Fatal(err)
		}
		if _, _, err := Decode(data); err != nil {
			f.Fatalf("%v: %s", err, data)
		}
		f.Add(data)
	}
}

// mostElements is how many elements a list has that is drawn.
const mostElements = 2

// draw sets v to anything that its type may have in a State. A type that no State has had
// so far fails the test: whoever adds one says here what its values are.
func draw(t *rapid.T, v reflect.Value, name string) {
	switch v.Interface().(type) {
	case time.Time:
		// Years of four digits, as in RFC 3339.
		seconds := rapid.Int64Range(-62_135_596_800, 253_402_300_799).Draw(t, name)
		v.Set(reflect.ValueOf(time.Unix(seconds, rapid.Int64Range(0, 999_999_999).Draw(t, name)).UTC()))
		return
	case netip.Addr:
		v.Set(reflect.ValueOf(drawAddr(t, name)))
		return
	case netip.AddrPort:
		if addr := drawAddr(t, name); addr.IsValid() {
			v.Set(reflect.ValueOf(netip.AddrPortFrom(addr, rapid.Uint16().Draw(t, name))))
		}
		return
	case carry.FD:
		v.SetInt(rapid.Int64Range(int64(carry.None), math.MaxInt32).Draw(t, name))
		return
	case json.RawMessage:
		if text := rapid.String().Draw(t, name); text != "" {
			raw, err := json.Marshal(map[string]any{"name": text, "list": []int{len(text)}})
			if err != nil {
				t.Fatal(err)
			}
			v.SetBytes(raw)
		}
		return
	case []byte:
		v.SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, name))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, name))
	case reflect.Int, reflect.Int32, reflect.Int64:
		bits := v.Type().Bits()
		v.SetInt(rapid.Int64Range(math.MinInt64>>(64-bits), math.MaxInt64>>(64-bits)).Draw(t, name))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, math.MaxUint64>>(64-v.Type().Bits())).Draw(t, name))
	case reflect.Float64:
		v.SetFloat(rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64).Draw(t, name))
	case reflect.String:
		v.SetString(rapid.String().Draw(t, name))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, name) {
			v.Set(reflect.New(v.Type().Elem()))
			draw(t, v.Elem(), name)
		}
	case reflect.Slice:
		n := rapid.IntRange(0, mostElements).Draw(t, name)
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			draw(t, v.Index(i), name)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range rapid.IntRange(0, mostElements).Draw(t, name) {
			key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			draw(t, key, name)
			draw(t, value, name)
			v.SetMapIndex(key, value)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			draw(t, v.Field(i), name+"."+v.Type().Field(i).Name)
		}
	default:
		t.Fatalf("%s: no values are known of type %v", name, v.Type())
	}
}

// drawAddr returns any address, or none. IPv4 has no zones.
func drawAddr(t *rapid.T, name string) netip.Addr {
	bytes := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, name)
	switch rapid.IntRange(0, 3).Draw(t, name) {
	case 0:
		return netip.Addr{}
	case 1:
		return netip.AddrFrom4([4]byte(bytes))
	case 2:
		return netip.AddrFrom16([16]byte(bytes)).WithZone(rapid.StringMatching(`[a-z0-9.-]{1,15}`).Draw(t, name))
	default:
		return netip.AddrFrom16([16]byte(bytes))
	}
}
