package config

import (
	"fmt"
	"strconv"
)

// A FileMode is the permission bits of a socket file, or a umask. It is written
// as a string of octal digits, because an integer of TOML is decimal and 660
// would quietly mean something else. The zero FileMode is one that is not set.
type FileMode struct {
	Set  bool
	Bits uint32
}

// ParseFileMode parses octal digits. The empty string is a mode not set.
func ParseFileMode(s string) (FileMode, error) {
	if s == "" {
		return FileMode{}, nil
	}
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n > 0o777 {
		return FileMode{}, fmt.Errorf(`must be octal digits from "000" to "777"`)
	}
	return FileMode{true, uint32(n)}, nil
}

func (m FileMode) String() string {
	if !m.Set {
		return ""
	}
	return fmt.Sprintf("%03o", m.Bits)
}
