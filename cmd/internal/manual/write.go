package manual

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// Write writes all pages of a program into a directory, which it makes where
// there is none.
func Write(dir string, root *cobra.Command, o Options) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the directory for the manual: %w", err)
	}
	pages := commandPages(root, o)
	pages[configurationPage+".5"] = configuration(o)
	for name, text := range pages {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return fmt.Errorf("write the manual: %w", err)
		}
	}
	return nil
}

// Date returns the date that pages are to have: the one of SOURCE_DATE_EPOCH,
// in seconds, or none.
func Date(getenv func(string) string) (string, error) {
	const variable = "SOURCE_DATE_EPOCH"
	text := getenv(variable)
	if text == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", fmt.Errorf("%s %q: must be a number of seconds since 1970", variable, text)
	}
	return time.Unix(seconds, 0).UTC().Format(time.DateOnly), nil
}
