package upgrade

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// formats are those that this program reads and writes, the newest first. A format that
// was released stays as it is: a change of a State is a new format, and the one before
// stays in the table for as long as its program may be upgraded or gone back to. Each
// has a file in testdata that is decoded for ever.
var formats = []format{
	{1, encodeJSON, decodeJSON},
}

// A format is one way to write a State.
type format struct {
	number int
	encode func(*State) ([]byte, error)
	decode func(body []byte, s *State) error
}

// Formats returns the numbers of the formats that this program reads and writes, the
// newest first.
func Formats() (numbers []int) {
	for _, f := range formats {
		numbers = append(numbers, f.number)
	}
	return numbers
}

// common returns the newest format that this program and another one have.
func common(others []int) (int, error) {
	for _, f := range formats {
		if slices.Contains(others, f.number) {
			return f.number, nil
		}
	}
	return 0, fmt.Errorf("it reads format %s of the state, and this version writes %s", list(others), list(Formats()))
}

func list(numbers []int) string {
	if len(numbers) == 0 {
		return "none"
	}
	var texts []string
	for _, n := range numbers {
		texts = append(texts, strconv.Itoa(n))
	}
	return strings.Join(texts, ", ")
}

func findFormat(number int) (*format, error) {
	for i := range formats {
		if formats[i].number == number {
			return &formats[i], nil
		}
	}
	return nil, fmt.Errorf("the state has format %d, and this version reads %s", number, list(Formats()))
}

// Encode returns a State in a format.
func Encode(h *Header, s *State) ([]byte, error) {
	f, err := findFormat(h.Format)
	if err != nil {
		return nil, err
	}
	body, err := f.encode(s)
	if err != nil {
		return nil, err
	}
	return join(h, body)
}

// Decode returns the two parts of a State of any format that this program reads. The
// header is also returned where the rest is not of such a format.
func Decode(data []byte) (Header, *State, error) {
	h, body, err := split(data)
	if err != nil {
		return h, nil, err
	}
	f, err := findFormat(h.Format)
	if err != nil {
		return h, nil, err
	}
	s := &State{}
	if err := f.decode(body, s); err != nil {
		return h, nil, fmt.Errorf("state of %s in format %d: %w", h.Version, h.Format, err)
	}
	return h, s, nil
}

func encodeJSON(s *State) ([]byte, error) { return json.Marshal(s) }

// decodeJSON refuses what it does not know: it would be lost.
func decodeJSON(body []byte, s *State) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		return err
	}
	if d.More() {
		return fmt.Errorf("something follows at byte %d", d.InputOffset())
	}
	return nil
}
