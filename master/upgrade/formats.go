package upgrade

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// formats are those that this program reads and writes, the newest first. A format that
// was released stays as it is, and in the table for as long as a program that knows no
// later one may be upgraded or gone back to. Each has a file in testdata that is decoded
// for ever.
//
// The newest format is the JSON of State as it is, in lines (encodeLines). So a change of
// State, or of a type in
// it, that changes the JSON is a new format once a program with the type as it was is
// released. To add one:
//
//   - Copy the types that change, as they were, into a file of this package for the
//     format before, with functions from and to what they have become. Its line in the
//     table gets an encode and a decode that go by these; its number stays.
//   - Put the new number first in the table, with encodeLines and decodeLines.
//   - Where the format before has no place for something, its encode leaves it out, says
//     so in MasterState.Dropped if a user would miss it, and fails if a program without
//     it would do harm: then the upgrade is refused with the reason. Its decode sets what
//     is new to what a program without it did.
//   - Add the value with everything in it to goldens of the tests, and have go test
//     -run TestGolden -update write the file. The files of earlier formats stay: if a
//     test wants one of them changed, the format has changed.
//   - A Header stays readable by all programs, see there.
var formats = choose([]format{
	{1, encodeLines, decodeLines},
})

// A format is one way to write a State.
type format struct {
	number int
	encode func(*State) (lines [][]byte, err error)
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

// common returns the first format in own that another program has, too.
func common(own, others []int) (int, error) {
	for _, number := range own {
		if slices.Contains(others, number) {
			return number, nil
		}
	}
	return 0, fmt.Errorf("it reads format %s of the state, and this version writes %s", list(others), list(own))
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
	lines, err := f.encode(s)
	if err != nil {
		return nil, err
	}
	return join(h, lines...)
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
