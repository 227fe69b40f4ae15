package config

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/preforkd/preforkd/master/box/mounts"
)

// validateFiles checks what the box does with paths, first the words and then the files
// of this machine that they lead to, as far as this user may see them. It returns what
// finds files in the box, or nil if that is wrong.
func (s *Service) validateFiles(v boxValidator) *finder {
	before := len(*v.errs)
	s.Box.validatePaths(v)
	if len(*v.errs) > before {
		return nil
	}
	f, errs := s.newFinder()
	for _, err := range errs {
		s.Box.reportPath(v, err)
	}
	return f
}

// pathList is a key that lists paths of the box.
type pathList struct {
	key   string
	paths []string
}

func (b *Box) pathLists() []pathList {
	var targets []string
	for _, bind := range b.BindPaths {
		targets = append(targets, bind.Target)
	}
	return []pathList{
		{"read-write-paths", b.ReadWritePaths}, {"read-only-paths", b.ReadOnlyPaths}, {"inaccessible-paths", b.InaccessiblePaths},
		{"bind-paths", targets}, {"temporary-file-system", b.TemporaryFileSystem},
	}
}

// validatePaths checks what can be said of paths without a look at files.
func (b *Box) validatePaths(v boxValidator) {
	if b.RootDirectory == "/" {
		v.report("root-directory", b.RootDirectory, "is the root already")
	}
	if len(b.ReadWritePaths) > 0 && b.ProtectSystem != ProtectSystemStrict && len(b.ReadOnlyPaths) == 0 {
		v.report("read-write-paths", b.ReadWritePaths[0], "nothing is read-only without protect-system or read-only-paths")
	}
	taken := map[string]string{}
	for _, of := range b.pathLists() {
		for i, item := range of.paths {
			key, path := of.key+"["+strconv.Itoa(i)+"]", strings.TrimPrefix(item, mayBeMissing)
			switch other := taken[path]; {
			case other == of.key:
				v.report(key, item, "is listed twice")
			case other != "":
				v.report(key, item, "is in %s, too", other)
			case path == "/":
				if why := rootRefused[of.key]; why != "" {
					v.report(key, item, "%s", why)
				}
			case b.PrivateTmp && slices.Contains(privateTmpPaths, path) && of.key != "read-write-paths":
				v.report(key, item, "private-tmp says what is there")
			}
			taken[path] = of.key
		}
	}
}

// rootRefused says why a key cannot be about the root of the box.
var rootRefused = map[string]string{
	"read-write-paths":      `protect-system = "no" leaves everything writable`,
	"inaccessible-paths":    "hides the program, too",
	"bind-paths":            "root-directory says what is there",
	"temporary-file-system": "hides the program, too; root-directory says what is there",
}

// privateTmpPaths are the directories that private-tmp replaces.
var privateTmpPaths = []string{"/tmp", "/var/tmp", "/dev/shm"}

// reportPath reports what is wrong with a file that the box is to be made of.
func (b *Box) reportPath(v boxValidator, err error) {
	wrong, ok := errors.AsType[*mounts.PathError](err)
	if !ok {
		v.errs.add(v.at.find("preset"), "%s%v", v.scope, err)
		return
	}
	if wrong.Key == "root-directory" {
		v.report(wrong.Key, wrong.Path, "%v", wrong.Err)
		return
	}
	for i, bind := range b.BindPaths {
		if wrong.Key != "bind-paths" {
			break
		}
		key := "bind-paths[" + strconv.Itoa(i) + "]"
		source := strings.TrimPrefix(bind.Source, mayBeMissing) == wrong.Path
		switch {
		case wrong.Source && source:
			v.report(key, bind.String(), "source: %v", wrong.Err)
			return
		case !wrong.Source && bind.Target == wrong.Path && !source:
			v.report(key, bind.String(), "target: %v", wrong.Err)
			return
		case !wrong.Source && (source || bind.Target == wrong.Path):
			v.report(key, bind.String(), "%v", wrong.Err)
			return
		}
	}
	for _, of := range b.pathLists() {
		if i := slices.IndexFunc(of.paths, func(item string) bool { return strings.TrimPrefix(item, mayBeMissing) == wrong.Path }); of.key == wrong.Key && i >= 0 {
			v.report(of.key+"["+strconv.Itoa(i)+"]", of.paths[i], "%v", wrong.Err)
			return
		}
	}
	v.report(wrong.Key, true, "%s: %v", wrong.Path, wrong.Err) // a directory that a key needs
}
