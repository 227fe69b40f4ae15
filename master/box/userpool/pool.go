package userpool

import (
	"fmt"
	"math"
	"sync"
)

// Users are the uids that pools have lent. Pools of the same Users may overlap, as the
// old and the new one do when a configuration changes: no uid is lent twice. The zero
// Users have lent none.
type Users struct {
	mu   sync.Mutex // guards what follows
	lent map[uint32]bool
}

// lend reports false if the uid is lent.
func (u *Users) lend(uid uint32) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lent[uid] {
		return false
	}
	if u.lent == nil {
		u.lent = map[uint32]bool{}
	}
	u.lent[uid] = true
	return true
}

func (u *Users) giveBack(uid uint32) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.lent, uid)
}

// Claim notes that a process has a uid which the master before this one has lent to it. No
// pool lends it until Unclaim. It need not be in the range of any pool of today.
func (u *Users) Claim(uid uint32) error {
	if err := checkRange(uid, uid); err != nil {
		return err
	}
	if !u.lend(uid) {
		return fmt.Errorf("the uid %d is lent already", uid)
	}
	return nil
}

// Unclaim takes a uid back that was claimed. No process may have it any more.
func (u *Users) Unclaim(uid uint32) { u.giveBack(uid) }

// A Pool lends uids. Its methods may be called by several goroutines at once, and
// take the same time whatever the size of the pool.
type Pool struct {
	users *Users
	files accountFiles
	first uint32
	size  int

	mu   sync.Mutex // guards what follows
	lent []bool     // by this pool; by uid, counted from first
	// free holds the uids that are not lent, from the one that was given back
	// longest ago. It is a ring with room for all: free[head] is its first.
	free []uint32
	head int
	left int // how many are in free
}

// maxSize bounds the memory of a pool: 5 bytes for each uid. No machine has as
// many live connections.
const maxSize = 1 << 20

// system are the files of this machine.
var system = accountFiles{"/etc/passwd", "/etc/group", "/run/systemd/dynamic-uid"}

// Check returns why New would not make a pool of the uids from first to last.
func Check(first, last uint32) error { return system.check(first, last) }

// check returns why these uids cannot be a pool.
func (f accountFiles) check(first, last uint32) error {
	if err := checkRange(first, last); err != nil {
		return err
	}
	return f.checkUnused(first, last)
}

// New returns a pool of the uids from first to last. They must not be those of an
// account or of a group in /etc/passwd and /etc/group: what is in a box could
// do whatever that account may. The error names the account.
func (u *Users) New(first, last uint32) (*Pool, error) {
	return system.newPool(u, first, last)
}

// newPool returns a pool of uids that these files do not have.
func (f accountFiles) newPool(u *Users, first, last uint32) (*Pool, error) {
	if err := f.check(first, last); err != nil {
		return nil, err
	}
	size := int(last-first) + 1
	p := &Pool{users: u, files: f, first: first, size: size, lent: make([]bool, size), free: make([]uint32, size), left: size}
	for i := range p.free {
		p.free[i] = first + uint32(i)
	}
	return p, nil
}

// checkRange returns why the uids from first to last cannot be lent.
func checkRange(first, last uint32) error {
	// 65535 and 4294967295 are -1 for calls with 16 and 32 bits, where they mean
	// to change nothing (setreuid(2), chown(2)).
	for _, never := range []uint32{0, math.MaxUint16, math.MaxUint32} {
		if first <= never && never <= last {
			return fmt.Errorf("the uids %d-%d contain %d, which no process may get", first, last, never)
		}
	}
	if first > last {
		return fmt.Errorf("the uids %d-%d are none: the first is above the last", first, last)
	}
	if last-first >= maxSize {
		return fmt.Errorf("the uids %d-%d are more than %d", first, last, maxSize)
	}
	return nil
}

// Acquire lends a uid that is not lent: one that never was, or else the one that
// was given back longest ago, so that a uid is rarely used again soon. It reports
// false if all are lent. The caller must call Release.
//
// One that systemd has given to a service (DynamicUser=) is left out as long as it has
// it. It takes longer only while somebody else has uids of the range.
func (p *Pool) Acquire() (uid uint32, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range p.left {
		uid = p.free[p.head]
		p.head = (p.head + 1) % p.size
		if !p.files.isDynamic(uid) && p.users.lend(uid) {
			p.left--
			p.lent[uid-p.first] = true
			return uid, true
		}
		p.free[(p.head+p.left-1)%p.size] = uid // it is the last one now
	}
	return 0, false
}

// Release takes a uid back. No process may have it any more. It panics if the
// uid is not lent: who gives back what he does not have could give back what
// another has, and then two connections would share it.
func (p *Pool) Release(uid uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if uid < p.first || uid-p.first >= uint32(p.size) || !p.lent[uid-p.first] {
		panic(fmt.Sprintf("userpool: the uid %d is given back and was not lent", uid))
	}
	p.lent[uid-p.first] = false
	p.users.giveBack(uid)
	p.free[(p.head+p.left)%p.size] = uid
	p.left++
}

// InUse returns how many uids the pool has lent.
func (p *Pool) InUse() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size - p.left
}

// Size returns how many uids there are, lent or not.
func (p *Pool) Size() int { return p.size }
