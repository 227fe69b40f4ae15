package cgroup

import (
	"maps"
	"reflect"
	"testing"
)

func TestParseMembership(t *testing.T) {
	for text, want := range map[string]membership{
		"":                        {},
		"0::/\n":                  {path: "/"},
		"0::/a:b/c d\n":           {path: "/a:b/c d"},
		"0::/../x\n":              {path: "/../x"},
		"2:cpu,cpuacct:/\n0::/a":  {path: "/a", v1: []string{"cpu", "cpuacct"}},
		"1:name=systemd:/init\n":  {},
		"1:name=:0:/\n":           {path: "error"},
		"nonsense\n":              {path: "error"},
		"0::\n":                   {path: "error"},
		"0::relative\n":           {path: "error"},
		"0::/a\n\n":               {path: "error"},
		"3:memory:/x (deleted)\n": {v1: []string{"memory"}},
	} {
		got, err := parseMembership(text)
		if err != nil {
			got.path = "error"
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
}

func TestDirectoryOf(t *testing.T) {
	for _, test := range []struct {
		root, point, path, want string
	}{
		{"/", "/sys/fs/cgroup", "/a/b", "/sys/fs/cgroup/a/b"},
		{"/", "/sys/fs/cgroup", "/", "/sys/fs/cgroup"},
		{"/a", "/m", "/a", "/m"},
		{"/a", "/m", "/a/b", "/m/b"},
		{"/a", "/m", "/ab", ""},
		{"/a", "/m", "/", ""},
		{"/", "/m", "/..", ""},
		{"/", "/m", "/../x", ""},
		{"/..", "/m", "/x", ""},
		{"/", "/m", "/a..b", "/m/a..b"},
	} {
		if got, ok := (mount{test.root, test.point}).directoryOf(test.path); got != test.want || ok != (test.want != "") {
			t.Errorf("%s in the mount of %s at %s is %q, want %q", test.path, test.root, test.point, got, test.want)
		}
	}
}

func TestParseMounts(t *testing.T) {
	text := "32 24 0:27 / /sys/fs/cgroup rw,relatime shared:8 master:1 - cgroup2 cgroup2 rw,nsdelegate\n" +
		"33 24 0:27 /a\\134\\040b /x\\011y rw - cgroup2 none rw\n" +
		"34 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n" +
		"35 24 0:29 / /bad\\09 rw - cgroup2 none rw\n" +
		"nonsense\n\n36 24 0:30 - cgroup2\n37 24 0:30 / /y rw -\n"
	want := []mount{{"/", "/sys/fs/cgroup"}, {`/a\ b`, "/x\ty"}, {"/", `/bad\09`}}
	if got := parseMounts(text); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestParseKeyed(t *testing.T) {
	got, err := parseKeyed("low 0\nmax 18446744073709551615\noom_kill 3\n")
	want := map[string]uint64{"low": 0, "max": 1<<64 - 1, "oom_kill": 3}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, text := range []string{"low\n", "low 1 2\n", "low -1\n", "\n", "low 18446744073709551616\n"} {
		if got, err := parseKeyed(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
