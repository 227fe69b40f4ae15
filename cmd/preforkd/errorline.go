package main

import (
	"strconv"
	"strings"
)

// errorLine formats an error as one line. Errors that were found together are joined
// with "; ". A path or a flag may contain line ends and control sequences. errorLine
// writes these as Go source does.
func errorLine(err error) string {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []string
		for _, err := range joined.Unwrap() {
			parts = append(parts, errorLine(err))
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
