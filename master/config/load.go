package config

import (
	"fmt"
	"io"
	"os"
)

// maxFile bounds a configuration file in bytes; tens of thousands of rules fit.
const maxFile = 16 << 20

// Load reads a configuration file, completes and validates it. Mistakes in it
// come back as Mistakes, all of them at once.
func Load(path string, run Run) (Config, error) {
	file, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	switch {
	case err != nil:
		return Config{}, fmt.Errorf("read configuration: %w", err)
	case len(text) > maxFile:
		return Config{}, fmt.Errorf("read configuration: %s has more than %d bytes", path, maxFile)
	}
	return Parse(path, text, run)
}

// Parse is Load for the text of a file; file is the name that mistakes give.
func Parse(file string, text []byte, run Run) (Config, error) {
	root, err := parseDocument(file, text)
	if err != nil {
		return Config{}, err
	}
	var mistakes Mistakes
	c := decode(root, &mistakes)
	c.Run = run
	c.Complete()
	c.validate(&mistakes)
	return c, mistakes.err()
}
