//go:build upgradefault

package upgrade

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// later is the number of the format that only this build has, for tests of upgrades
// between versions that have different ones. No release comes to it.
const later = 1_000_000

// choose returns the formats that the file EXE.formats beside the program EXE names by
// their numbers, in that order, and all if there is no such file. So a test has programs
// of the same source that read different formats. Among those that it may name is later.
// The file is also that of a program that was replaced and rehearses the way back: what the
// new one reads, it has been written in.
func choose(all []format) []format {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return all
	}
	text, err := os.ReadFile(strings.TrimSuffix(program, " (deleted)") + ".formats")
	if err != nil {
		return all
	}
	all = append([]format{{later, encodeLater, decodeLater}}, all...)
	var chosen []format
	for _, word := range strings.Fields(string(text)) {
		at := slices.IndexFunc(all, func(f format) bool { return strconv.Itoa(f.number) == word })
		if at < 0 {
			panic(fmt.Sprintf("%s.formats: there is no format %s", program, word))
		}
		chosen = append(chosen, all[at])
	}
	return chosen
}

// A laterState is a State in the later format: one with something more in it.
type laterState struct {
	State  *State `json:"state"`
	Record string `json:"record"`
}

// laterRecord is what is more.
const laterRecord = "of a later version"

func encodeLater(s *State) ([][]byte, error) {
	line, err := json.Marshal(laterState{s, laterRecord})
	return [][]byte{line}, err
}

func decodeLater(body []byte, s *State) error {
	l := laterState{State: s}
	if err := decodeStrictly(body, &l); err != nil {
		return err
	}
	if l.Record != laterRecord {
		return fmt.Errorf("the record of the later format is %q", l.Record)
	}
	return nil
}
