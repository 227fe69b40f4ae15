package syscalls

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/preforkd/preforkd/ipc/needtest"
)

var architectures = []string{"amd64", "arm64"}

// The committed numbers are those of the version of golang.org/x/sys in go.mod.
func TestNumbersAreUpToDate(t *testing.T) {
	var stderr bytes.Buffer
	cmd := exec.Command("go", "run", "gen.go")
	cmd.Stderr = &stderr
	want, err := cmd.Output()
	if err != nil {
		t.Fatalf("go run gen.go: %v\n%s", err, stderr.Bytes())
	}
	got, err := os.ReadFile("znumbers.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("znumbers.go is not what gen.go writes: run go generate")
	}
}

// Name is the inverse of Number, and nothing has two names.
func TestNamesAndNumbers(t *testing.T) {
	for _, arch := range architectures {
		seen := 0
		for i := range calls {
			n, found := Number(arch, calls[i].name)
			if !found {
				continue
			}
			seen++
			if name, ok := Name(arch, n); !ok || name != calls[i].name {
				t.Errorf("%s: call %d is %q, and %q has that number", arch, n, name, calls[i].name)
			}
		}
		numbers := Numbers(arch)
		if len(numbers) != seen || seen < 300 || !slices.IsSorted(numbers) || len(slices.Compact(numbers)) != seen {
			t.Errorf("%s has %d names, and the numbers %d", arch, seen, numbers)
		}
	}
	for _, test := range []struct {
		arch, name string
		number     int
	}{{"amd64", "read", 0}, {"amd64", "clone3", 435}, {"arm64", "io_setup", 0}, {"arm64", "clone3", 435}, {"arm64", "read", 63}} {
		if n, found := Number(test.arch, test.name); !found || n != test.number {
			t.Errorf("%s on %s is %d", test.name, test.arch, n)
		}
	}
	for _, test := range [][2]string{{"arm64", "open"}, {"amd64", "mmap2"}, {"amd64", "@mount"}, {"386", "read"}, {"arm64", "arch_specific_syscall"}} {
		if n, found := Number(test[0], test[1]); found {
			t.Errorf("%s on %s is %d, and should not be", test[1], test[0], n)
		}
	}
	for _, n := range []int{-1, 400, 1 << 30} {
		if name, found := Name("amd64", n); found {
			t.Errorf("call %d is %q, and should not be", n, name)
		}
	}
	if numbers := Numbers("386"); numbers != nil {
		t.Errorf("386 has the numbers %d", numbers)
	}
}

// testdata/sets.txt says where it is from.
func TestSetsHoldWhatSystemdSays(t *testing.T) {
	text, err := os.ReadFile("testdata/sets.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if line[0] == '#' {
			continue
		}
		words := strings.Fields(line)
		set, arch := words[0], words[1]
		seen[set] = true
		var want []int
		for _, word := range words[2:] {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, n)
		}
		p, err := Expand([]string{"~" + set})
		if err != nil {
			t.Fatal(err)
		}
		if got := p.Denied(arch); !slices.Equal(got, want) {
			t.Errorf("%s on %s (-want +got):\n%s", set, arch, cmp.Diff(want, got))
		}
	}
	if names := slices.Sorted(maps.Keys(seen)); !slices.Equal(names, Sets()) || len(names) != 30 {
		t.Errorf("the sets are %q, want %q", Sets(), names)
	}
}

// From version to version systemd only adds to its sets. So those of an older one are
// within ours, and those of a newer one have ours within.
func TestSetsOfInstalledSystemd(t *testing.T) {
	analyze := needtest.Program(t, "systemd-analyze")
	output := func(args ...string) string {
		cmd := exec.Command(analyze, args...)
		cmd.Env = append(os.Environ(), "LC_ALL=C", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0")
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("systemd-analyze %s: %v", args, err)
		}
		return string(out)
	}
	words := strings.Fields(output("--version"))
	if len(words) < 2 {
		t.Fatalf("systemd-analyze does not tell its version: %q", words)
	}
	version, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatal(err)
	}
	installed := parseSets(output("syscall-filter"))
	if len(installed) < 20 {
		t.Fatalf("systemd %d has the sets %q", version, slices.Sorted(maps.Keys(installed)))
	}
	for set := range installed {
		names := expand(installed, set)
		ours, found := Set(set)
		if !found {
			if version <= 257 {
				t.Errorf("there is no set %s", set)
			}
			continue
		}
		for _, name := range names {
			if version <= 257 && !slices.Contains(ours, name) {
				t.Errorf("%s has no %s", set, name)
			}
		}
		for _, name := range ours {
			if version >= 257 && !slices.Contains(names, name) {
				t.Errorf("%s has %s, which is not in that of systemd %d", set, name, version)
			}
		}
	}
}

func TestSetThatDoesNotExist(t *testing.T) {
	for _, name := range []string{"@no", "mount", ""} {
		if names, found := Set(name); found {
			t.Errorf("%q is a set: %q", name, names)
		}
	}
}

func TestExpand(t *testing.T) {
	for _, test := range []struct {
		list            string
		allowed, denied string
		unknown         string
		byDefault       bool
	}{
		{list: "~@mount ~bpf", allowed: "open statmount listns", denied: "mount umount2 bpf", byDefault: true},
		{list: "~@mount mount", allowed: "mount open", denied: "umount2", byDefault: true},
		{list: "~@mount @mount", allowed: "mount umount2", byDefault: true},
		{list: "mount ~mount", allowed: "execve", denied: "mount open"},
		{list: "@basic-io", allowed: "read execve exit_group", denied: "open mount", unknown: "listns"},
		{list: "@basic-io listns", allowed: "read listns", unknown: "open_tree_attr"},
		{list: "", allowed: "execve exit_group futex", denied: "read"},
		// @default can be taken away from, and so can the sets within it.
		{list: "@basic-io ~execve", allowed: "exit_group", denied: "execve"},
		{list: "@basic-io ~@sandbox", allowed: "execve", denied: "seccomp"},
		// @system-service has other sets within it.
		{list: "@system-service ~@privileged ~@resources", allowed: "read socket", denied: "mount chown setpriority"},
		// The order of the entries decides.
		{list: "@system-service ~@chown chown", allowed: "chown", denied: "fchown"},
		// A call of another architecture has no effect.
		{list: "mmap2 riscv_hwprobe", allowed: "execve", denied: "read"},
	} {
		p, err := Expand(strings.Fields(test.list))
		if err != nil {
			t.Errorf("%q: %v", test.list, err)
			continue
		}
		if p.AllowByDefault != test.byDefault {
			t.Errorf("%q: allow by default is %v", test.list, p.AllowByDefault)
		}
		for decision, names := range map[Decision]string{Allowed: test.allowed, Denied: test.denied, Unknown: test.unknown} {
			numbers := map[Decision]func(string) []int{Allowed: p.Allowed, Denied: p.Denied, Unknown: p.Unknown}[decision]
			for _, name := range strings.Fields(names) {
				if got := p.Decide(name); got != decision {
					t.Errorf("%q decides %d for %s, want %d", test.list, got, name, decision)
				}
				if n, found := Number("amd64", name); !found || !slices.Contains(numbers("amd64"), n) {
					t.Errorf("%q: %s is missing from the numbers for decision %d", test.list, name, decision)
				}
			}
		}
	}
	if zero := (&Policy{}).Allowed("amd64"); len(zero) > 0 {
		t.Errorf("the zero policy allows %d", zero)
	}
}

func TestCheck(t *testing.T) {
	for _, right := range []string{"open", "~open", "@mount", "~@mount", "mmap2", "listns", "riscv_hwprobe", "@known"} {
		if err := Check(right); err != nil {
			t.Errorf("%q: %v", right, err)
		}
	}
	for entry, want := range map[string]string{
		"":               `must name a system call or a set of them`,
		"~":              `must name a system call or a set of them`,
		"opne":           `there is no such system call; did you mean "open"?`,
		"~@mont":         `there is no such set of system calls; did you mean "~@mount"?`,
		"~system-servic": `there is no such system call; did you mean "~@system-service"?`,
		"OPENAT":         `there is no such system call; did you mean "openat"?`,
		"xyzzyxyzzy":     `there is no such system call`,
		"~open:EPERM":    `must be "open": a single call cannot have an action of its own ("EPERM")`,
		" open":          `there is no such system call; did you mean "open"?`,
		"~~open":         `there is no such system call; did you mean "~open"?`,
	} {
		err := Check(entry)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v\nwant %s", entry, err, want)
		}
		if _, err := Expand([]string{"@mount", entry}); err == nil || err.Error() != strconv.Quote(entry)+": "+want {
			t.Errorf("expand %q: %v", entry, err)
		}
	}
}

// Every call has one decision, and the last entry that names it decides, or the default.
func TestLastEntryDecides(t *testing.T) {
	entries := Sets()
	for i := range calls {
		entries = append(entries, calls[i].name)
	}
	for i := range slices.Clone(entries) {
		entries = append(entries, "~"+entries[i])
	}
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.SampledFrom(entries), 1, 8).Draw(t, "list")
		p, err := Expand(list)
		if err != nil {
			t.Fatal(err)
		}
		denyList := list[0][0] == '~'
		effective := list
		if !denyList {
			effective = append([]string{"@default"}, list...)
		}
		for i := range calls {
			name := calls[i].name
			want := denyList
			for _, entry := range effective {
				names, isSet := Set(strings.TrimPrefix(entry, "~"))
				if strings.TrimPrefix(entry, "~") == name || isSet && slices.Contains(names, name) {
					want = entry[0] != '~'
				}
			}
			if got := p.Decide(name) == Allowed; got != want {
				t.Fatalf("%q allows %s: %v, want %v", list, name, got, want)
			}
		}
		for _, arch := range architectures {
			all := slices.Concat(p.Allowed(arch), p.Denied(arch), p.Unknown(arch))
			slices.Sort(all)
			if !slices.Equal(all, Numbers(arch)) {
				t.Fatalf("%q on %s decides for %d of %d calls", list, arch, len(all), len(Numbers(arch)))
			}
		}
	})
}
