package userpool

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// accountFiles are the files that the accounts of a machine are in.
type accountFiles struct {
	passwd string // passwd(5)
	group  string // group(5)
	// dynamic is the directory in which systemd has a file for each uid of DynamicUser=
	// that is in use, which has its name (src/core/dynamic-user.c).
	dynamic string
}

// isDynamic reports whether systemd has given a uid to a service. systemd gives out none
// of an account, but knows nothing of those of a pool.
func (f accountFiles) isDynamic(uid uint32) bool {
	return unix.Access(f.dynamic+"/"+strconv.FormatUint(uint64(uid), 10), unix.F_OK) == nil
}

// checkUnused returns an error that names an account in the range, if there is
// one. What a directory service knows beyond the files is not asked: that may
// wait for a network.
func (f accountFiles) checkUnused(first, last uint32) error {
	for _, file := range []struct {
		path string
		kind string
		ids  map[int]string // what the numbers of a line are, by field
	}{
		{f.passwd, "user", map[int]string{2: "uid", 3: "gid"}},
		{f.group, "group", map[int]string{2: "gid"}},
	} {
		err := eachLine(file.path, func(fields []string) error {
			for i := 2; i < len(fields); i++ {
				name, ok := file.ids[i]
				if !ok {
					break
				}
				// A line without a number is no account for the C library either.
				id, err := strconv.ParseUint(fields[i], 10, 32)
				if err == nil && first <= uint32(id) && uint32(id) <= last {
					return fmt.Errorf("the uids %d-%d overlap the %s %s, %s %d in %s", first, last, file.kind, fields[0], name, id, file.path)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// eachLine calls a function with the fields of each line of a file, up to its
// first error. A line that is empty has one field. A machine without the file has no accounts.
func eachLine(path string, f func(fields []string) error) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	reader := bufio.NewReader(file) // not a Scanner: groups have lines of any length
	for {
		line, readErr := reader.ReadString('\n')
		if strings.HasPrefix(line, "#") {
			line = "" // a comment for the C library
		}
		if err := f(strings.Split(strings.TrimSuffix(line, "\n"), ":")); err != nil {
			return err
		}
		if readErr == io.EOF {
			return nil
		}
		if readErr != nil {
			return readErr
		}
	}
}
