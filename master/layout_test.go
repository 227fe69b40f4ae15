package master_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/preforkd/preforkd/master"
)

const masterPath = "github.com/preforkd/preforkd/master"

// floors places every package below master, from the bottom to the top. A package may
// import only packages of earlier rows. Its tests may also import packages of its own
// floor. A new package fails the test until it has a place here.
//
// Rows with the same number are one floor of the design. The rows of a floor are in the
// order of its imports, so that no floor has a cycle. A listed package need not exist yet.
var floors = []struct {
	number   int
	packages []string
}{
	// Each of these packages knows one subject and nothing of services.
	{0, []string{"box/userpool", "carry", "epoll", "executable", "memory", "oomscore", "osthread", "spelling", "signals/early", "upgrade/fault"}},
	{0, []string{"signals"}},
	{0, []string{"box/boxtest", "carry/carrytest", "box/mounts", "box/syscalls"}}, // boxtest and carrytest for tests only
	{0, []string{"admit", "backoff", "coalesce", "config", "fdpark", "human", "logging/human", "proxy", "sockdiag", "stderr"}},
	{0, []string{"box/stub", "linger", "listen", "logging", "process", "systemd", "threads"}},
	{0, []string{"box/cgroup", "box/seccomp"}},
	{0, []string{"box/observe"}},
	{0, []string{"box"}},
	{0, []string{"control", "hangup", "spawner"}},
	{0, []string{"metrics"}},
	// What a service is, what is counted for it, and what the log may say of peers.
	{1, []string{"ledger", "redact"}},
	{1, []string{"service"}},
	{1, []string{"service/servicetest"}}, // for tests only
	// The processes, the listening sockets, which services are observed, and which
	// reloads there are.
	{2, []string{"endpoints", "learning", "reloading", "workers"}},
	// A connection gets its worker.
	{3, []string{"dispatch"}},
	// Connections arrive, operators see them, topics spread, a new version takes over.
	{4, []string{"accept", "admin", "hub", "status"}},
	{4, []string{"upgrade"}}, // which names the state of each room
	// The loop.
	{5, []string{"."}},
}

// place returns the floor and the row of a package of the master, or a row of -1.
func place(name string) (floor, row int) {
	for i, f := range floors {
		if slices.Contains(f.packages, name) {
			return f.number, i
		}
	}
	return -1, -1
}

// A goPackage is the output of go list for one package.
type goPackage struct {
	ImportPath   string
	Imports      []string
	TestImports  []string // of test files of the package itself
	XTestImports []string // of test files of package NAME_test
}

// inMaster returns the path of a package below master, "." for master itself and "" for a
// package of another tree.
func inMaster(importPath string) string {
	if importPath == masterPath {
		return "."
	}
	name, found := strings.CutPrefix(importPath, masterPath+"/")
	if !found {
		return ""
	}
	return name
}

// upwardImports returns a line for every import that does not go down, and for every
// package without a place.
func upwardImports(packages []goPackage) []string {
	var found []string
	for _, p := range packages {
		from := inMaster(p.ImportPath)
		fromFloor, fromRow := place(from)
		if fromRow < 0 {
			found = append(found, fmt.Sprintf("%s has no floor: give it a place in floors", from))
			continue
		}
		for _, path := range p.Imports {
			to := inMaster(path)
			if to == "" {
				continue
			}
			if toFloor, toRow := place(to); toRow >= fromRow {
				found = append(found, fmt.Sprintf("%s (floor %d) imports %s (floor %d)", from, fromFloor, to, toFloor))
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			to := inMaster(path)
			if to == "" {
				continue
			}
			if toFloor, _ := place(to); toFloor > fromFloor {
				found = append(found, fmt.Sprintf("a test of %s (floor %d) imports %s (floor %d)", from, fromFloor, to, toFloor))
			}
		}
	}
	return found
}

func TestImportsGoDown(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,TestImports,XTestImports", masterPath+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("go list: %v", err)
		}
		packages = append(packages, p)
	}
	if !slices.ContainsFunc(packages, func(p goPackage) bool { return p.ImportPath == masterPath && len(p.Imports) > 0 }) {
		t.Fatal("go list did not find package master with its imports")
	}
	for _, line := range upwardImports(packages) {
		t.Error(line)
	}
}

func TestEveryPackageHasOnePlace(t *testing.T) {
	seen := map[string]bool{}
	last := 0
	for _, f := range floors {
		if f.number < last {
			t.Errorf("floor %d comes after floor %d", f.number, last)
		}
		last = f.number
		for _, name := range f.packages {
			if seen[name] {
				t.Errorf("%s has two places", name)
			}
			seen[name] = true
		}
	}
}

// This test shows that the rules can fail.
func TestUpwardImportsAreFound(t *testing.T) {
	for _, test := range []struct {
		from, imports string
		inTest        bool
		want          string
	}{
		{from: ".", imports: "accept"},
		{from: "accept", imports: "dispatch"},
		{from: "service", imports: "ledger"},
		{from: "metrics", imports: "control"},
		{from: "workers", imports: "endpoints", inTest: true},
		{from: "workers", imports: "workers", inTest: true},

		{from: "accept", imports: ".", want: "accept (floor 4) imports . (floor 5)"},
		{from: "workers", imports: "dispatch", want: "workers (floor 2) imports dispatch (floor 3)"},
		{from: "accept", imports: "status", want: "accept (floor 4) imports status (floor 4)"},
		{from: "ledger", imports: "service", want: "ledger (floor 1) imports service (floor 1)"},
		{from: "admit", imports: "listen", want: "admit (floor 0) imports listen (floor 0)"},
		{from: "admit", imports: "service", inTest: true, want: "a test of admit (floor 0) imports service (floor 1)"},
		{from: "attic2", imports: "admit", want: "attic2 has no floor: give it a place in floors"},
	} {
		path := masterPath
		if test.from != "." {
			path += "/" + test.from
		}
		imported := []string{masterPath + "/" + test.imports, "os"}
		if test.imports == "." {
			imported[0] = masterPath
		}
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		lists := []goPackage{{ImportPath: path, Imports: imported}}
		if test.inTest {
			lists = []goPackage{{ImportPath: path, TestImports: imported}, {ImportPath: path, XTestImports: imported}}
		}
		for _, p := range lists {
			if got := upwardImports([]goPackage{p}); !slices.Equal(got, want) {
				t.Errorf("%s importing %s:\n got %q\nwant %q", test.from, test.imports, got, want)
			}
		}
	}
}

// rooms are the packages that own state of the running master.
var rooms = []string{"accept", "admin", "status", "dispatch", "workers", "endpoints", "learning", "reloading", "service", "ledger", "redact", "coalesce", "backoff", "osthread", "fdpark", "linger", "memory", "signals", "spawner", "systemd", "threads", "stderr", "box"}

// plainData are the types of rooms whose fields others may read: values that do not
// change once they are made, and what a caller fills in. Two are more than that. A
// service.Service is a set of rooms, each with methods of its own (the gate, the
// ledger). A service.Connection owns its descriptor, which whoever has the connection
// at that moment closes.
var plainData = []string{
	"accept.Config", "dispatch.Config", "dispatch.Outcome", "endpoints.Plan", "ledger.Totals", "ledger.Trouble",
	"reloading.Drain", "reloading.Outcome", "service.Address", "service.Connection", "service.Files", "service.Rule", "service.Service", "service.Spec", "spawner.Config", "spawner.Stall", "status.Master", "status.Rooms", "stderr.Lines", "systemd.Socket", "workers.Outcome", "box.MissingError",
}

// TestRoomsKeepTheirFields fails when the fields of a room's type can be read by
// another room.
func TestRoomsKeepTheirFields(t *testing.T) {
	var open []string
	for _, room := range rooms {
		entries, err := os.ReadDir(room)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range entries {
			if !strings.HasSuffix(entry.Name(), ".go") || strings.HasSuffix(entry.Name(), "_test.go") {
				continue
			}
			if strings.HasPrefix(entry.Name(), "carry") {
				continue // what is handed to the next master is plain data
			}
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(room, entry.Name()), nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if spec, ok := n.(*ast.TypeSpec); ok && spec.Name.IsExported() {
					if fields := exportedFields(spec.Type); fields > 0 {
						open = append(open, room+"."+spec.Name.Name)
					}
				}
				return true
			})
		}
	}
	slices.Sort(open)
	for _, name := range open {
		if !slices.Contains(plainData, name) && name != "endpoints.Listener" { // which embeds listen.Listener for its methods
			t.Errorf("other rooms can read the fields of %s", name)
		}
	}
	for _, name := range plainData {
		if !slices.Contains(open, name) {
			t.Errorf("%s has no fields that others may read: take it off the list", name)
		}
	}
}

func exportedFields(t ast.Expr) (n int) {
	s, ok := t.(*ast.StructType)
	if !ok {
		return 0
	}
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 {
			n++ // embedded
		}
		for _, name := range f.Names {
			if name.IsExported() {
				n++
			}
		}
	}
	return n
}

// mostFiles is how many files the root of package master may have, without its tests.
const mostFiles = 15

// TestMasterIsSmall holds the master to what it is: a composition of rooms.
func TestMasterIsSmall(t *testing.T) {
	if n := reflect.TypeFor[master.Master]().NumField(); n > 15 {
		t.Errorf("Master has %d fields: which room owns the new one?", n)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	files = slices.DeleteFunc(files, func(name string) bool { return strings.HasSuffix(name, "_test.go") })
	if n := len(files); n > mostFiles {
		t.Errorf("master has %d files, at most %d are meant: which room owns what is new? %q", n, mostFiles, files)
	}
}
