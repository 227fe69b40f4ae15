package main

import (
	"strconv"
	"strings"
)

// complaint returns an error as the one line that a person reads. Mistakes that
// were found together stand one after the other. What somebody has put into a
// path or a flag may hold line ends and control sequences; they are shown the
// way Go source writes them.
func complaint(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []string
		for _, err := range joined.Unwrap() {
			parts = append(parts, complaint(err))
		}
		return strings.Join(parts, "; ")
	}
	var line strings.Builder
	for _, r := range err.Error() {
		if strconv.IsPrint(r) {
			line.WriteRune(r)
		} else {
			line.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return line.String()
}
