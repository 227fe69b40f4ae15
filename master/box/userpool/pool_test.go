package userpool

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/preforkd/preforkd/ipc/needtest"
	"pgregory.net/rapid"
)

// files writes the two files of accounts.
func files(t *testing.T, passwd, group string) accountFiles {
	t.Helper()
	dir := t.TempDir()
	f := accountFiles{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group")}
	for path, text := range map[string]string{f.passwd: passwd, f.group: group} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// newPool returns a pool on a machine without accounts.
func newPool(t interface{ Fatal(...any) }, first, last uint32) *Pool {
	p, err := accountFiles{passwd: "/nowhere/passwd", group: "/nowhere/group", dynamic: "/nowhere/dynamic-uid"}.newPool(new(Users), first, last)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAccounts(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n" +
		"# 200:x:205:205\n" +
		"\n" +
		"broken:x\n" +
		"letters:x:abc:def::/:\n" +
		"negative:x:-1:-200::/:\n" +
		"below:x:199:199::/:\n" +
		"above:x:300:300::/:\n"
	const group = "root:x:0:\nbelow:x:199:200,205\nabove:x:300:\nshort:x\n"
	long := "many:x:100:" + strings.Repeat("somebody,", 100_000) + "\n"
	for _, c := range []struct{ name, passwd, group, want string }{
		{"nobody", passwd, group, ""},
		{"empty files", "", "", ""},
		{"the first", passwd + "alice:x:200:100::/:\n", group, "the uids 200-299 overlap the user alice, uid 200 in PASSWD"},
		{"the last, without a line end", passwd + "bob:x:299:100::/:", group, "the uids 200-299 overlap the user bob, uid 299 in PASSWD"},
		{"primary group", passwd + "carol:x:100:250::/:\n", group, "the uids 200-299 overlap the user carol, gid 250 in PASSWD"},
		{"group", passwd, group + "staff:x:222:alice\n", "the uids 200-299 overlap the group staff, gid 222 in GROUP"},
		{"after a long line", passwd, long + "staff:x:222:alice\n", "the uids 200-299 overlap the group staff, gid 222 in GROUP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := files(t, c.passwd, c.group)
			p, err := f.newPool(new(Users), 200, 299)
			want := strings.NewReplacer("PASSWD", f.passwd, "GROUP", f.group).Replace(c.want)
			if (err == nil) != (want == "") || err != nil && err.Error() != want || (p == nil) != (err != nil) {
				t.Errorf("%v, want %q", err, want)
			}
		})
	}
}

// A file that cannot be read is no machine without accounts.
func TestUnreadable(t *testing.T) {
	f := files(t, "", "")
	f.group = t.TempDir()
	if p, err := f.newPool(new(Users), 200, 299); err == nil || p != nil {
		t.Error("a directory is taken for a file")
	}
}

// This machine's own files are read.
func TestNew(t *testing.T) {
	fields := strings.Split(firstLineWithUID(t), ":")
	var uid uint32
	if _, err := fmt.Sscan(fields[2], &uid); err != nil {
		t.Fatal(err)
	}
	if _, err := new(Users).New(uid, uid); err == nil || !strings.Contains(err.Error(), fields[0]) {
		t.Errorf("%v, want one that names %s", err, fields[0])
	}
}

// firstLineWithUID returns the first line of /etc/passwd that is not of uid 0.
func firstLineWithUID(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/etc/passwd")
	if err != nil {
		needtest.Skip(t, "needs /etc/passwd: "+err.Error())
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Split(line, ":"); len(fields) == 7 && fields[2] != "0" {
			return line
		}
	}
	needtest.Skip(t, "needs an account beside root in /etc/passwd")
	return ""
}

func TestRange(t *testing.T) {
	for _, c := range []struct {
		first, last uint32
		want        string
	}{
		{61184, 61439, ""},
		{70000, 70000, ""},
		{100000, 100000 + maxSize - 1, ""},
		{100000, 100000 + maxSize, "more than"},
		{0, 10, "contain 0"},
		{65000, 66000, "contain 65535"},
		{65535, 65535, "contain 65535"},
		{4294967295, 4294967295, "contain 4294967295"},
		{1, 4294967295, "contain 65535"},
		{301, 300, "first is above"},
	} {
		err := checkRange(c.first, c.last)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d-%d: %v, want %q", c.first, c.last, err, c.want)
		}
	}
}

// Whatever the order of calls: a uid has one borrower, those that were never lent
// come first, then the one that was given back longest ago, and the counts are
// right.
func TestPool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint32Range(1, 1000).Draw(t, "first")
		size := rapid.IntRange(1, 10).Draw(t, "size")
		p := newPool(t, first, first+uint32(size)-1)
		var free, lent []uint32 // as it should be
		for i := range size {
			free = append(free, first+uint32(i))
		}
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				uid, ok := p.Acquire()
				if ok != (len(free) > 0) || ok && uid != free[0] {
					t.Fatalf("%d, %v with %v free", uid, ok, free)
				}
				if ok {
					free, lent = free[1:], append(lent, uid)
				}
			},
			"release": func(t *rapid.T) {
				if len(lent) == 0 {
					t.Skip("nothing is lent")
				}
				i := rapid.IntRange(0, len(lent)-1).Draw(t, "which")
				p.Release(lent[i])
				free, lent = append(free, lent[i]), slices.Delete(lent, i, i+1)
			},
			"release what is not lent": func(t *rapid.T) {
				uid := rapid.Uint32Range(0, 1100).Draw(t, "uid")
				if slices.Contains(lent, uid) {
					t.Skip("it is lent")
				}
				defer func() {
					if recover() == nil {
						t.Fatalf("%d was taken back", uid)
					}
				}()
				p.Release(uid)
			},
			"": func(t *rapid.T) {
				if p.Size() != size || p.InUse() != len(lent) {
					t.Fatalf("%d of %d in use, want %d of %d", p.InUse(), p.Size(), len(lent), size)
				}
			},
		})
	})
}

// Borrowers at the same time never have the same uid.
func TestConcurrent(t *testing.T) {
	const size, borrowers, rounds = 8, 16, 2000
	p := newPool(t, 500, 500+size-1)
	var mu sync.Mutex
	held := map[uint32]bool{}
	var done sync.WaitGroup
	for range borrowers {
		done.Go(func() {
			for range rounds {
				uid, ok := p.Acquire()
				if !ok {
					continue
				}
				mu.Lock()
				if held[uid] {
					t.Errorf("%d is lent twice", uid)
				}
				held[uid] = true
				mu.Unlock()
				if n := p.InUse(); n < 1 || n > size {
					t.Errorf("%d of %d in use", n, size)
				}
				mu.Lock()
				delete(held, uid)
				mu.Unlock()
				p.Release(uid)
			}
		})
	}
	done.Wait()
	if p.InUse() != 0 {
		t.Errorf("%d in use at the end", p.InUse())
	}
}

// What systemd has given to a service is not lent, until that has ended.
func TestDynamicUsersOfSystemd(t *testing.T) {
	dir := t.TempDir()
	p, err := accountFiles{passwd: "/nowhere/passwd", group: "/nowhere/group", dynamic: dir}.newPool(new(Users), 500, 502)
	if err != nil {
		t.Fatal(err)
	}
	of := filepath.Join(dir, "501")
	if err := os.WriteFile(of, []byte("a-service\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var lent []uint32
	for {
		uid, ok := p.Acquire()
		if !ok {
			break
		}
		lent = append(lent, uid)
	}
	if !slices.Equal(lent, []uint32{500, 502}) || p.InUse() != 2 {
		t.Errorf("lent are %d, %d in use", lent, p.InUse())
	}
	if err := os.Remove(of); err != nil {
		t.Fatal(err)
	}
	if uid, ok := p.Acquire(); !ok || uid != 501 {
		t.Errorf("after the service has ended %d is lent, %v", uid, ok)
	}
}

// What another master has lent is not lent, until it is given back.
func TestClaim(t *testing.T) {
	var users Users
	for _, never := range []uint32{0, 65535, 1<<32 - 1} {
		if users.Claim(never) == nil {
			t.Errorf("the uid %d can be claimed", never)
		}
	}
	if err := users.Claim(61184); err != nil {
		t.Fatal(err)
	}
	if users.Claim(61184) == nil {
		t.Error("a uid can be claimed twice")
	}
	p, err := files(t, "", "").newPool(&users, 61184, 61185)
	if err != nil {
		t.Fatal(err)
	}
	if uid, ok := p.Acquire(); !ok || uid != 61185 {
		t.Errorf("lent %d, %v", uid, ok)
	}
	if uid, ok := p.Acquire(); ok {
		t.Errorf("lent %d, which is claimed", uid)
	}
	users.Unclaim(61184)
	if uid, ok := p.Acquire(); !ok || uid != 61184 {
		t.Errorf("lent %d, %v", uid, ok)
	}
}
