package admit

// A sourceState is what a gate knows of one source. It exists for these
// reasons:
//
//  1. The source has live connections, which count against its limit.
//  2. The bucket of the source is not full, so its rate is limited.
//  3. The source has a penalty and is refused.
//  4. The source has had a penalty recently, and the next one will be longer.
//
// A state is never removed while reason 1 or 3 applies. Other states are
// removed when there are more sources than the policy allows, the oldest first.
type sourceState struct {
	source Source
	bucket bucket
	until  int64 // the end of the last penalty
	live   int32
	next   int32 // the neighbours in the list; they are numbers and not pointers,
	prev   int32 // because the garbage collector would visit a million pointers
	level  uint8 // of the last penalty
	list   uint8

	// penalized says that sources.penalized counts this state.
	penalized bool
}

// The lists in which a state may be.
const (
	listNone      = iota // not in a list: the state is free, or the source has live connections
	listIdle             // may be removed; the head was not used for longest
	listPenalized        // has a penalty and no live connection
	lists
)

// sources holds the states of one gate's sources. The zero sources is empty, and takes
// no memory. The time of each operation
// does not depend on their number. Each operation also checks a few states for
// expired penalties.
type sources struct {
	index  map[Source]int32 // nil before the first source
	states []sourceState    // states[0] is not used, so the number 0 means no state
	free   []int32
	head   [lists]int32
	tail   [lists]int32
	length [lists]int

	// penalized counts the states whose penalty has not been found expired,
	// with and without live connections. Gate.Penalize limits it, so no penalty
	// has to be forgotten.
	penalized int
}

// find returns the number of a source's state, or 0 if there is none.
func (t *sources) find(s Source) int32 { return t.index[s] }

// add makes a state for a source that has none. The state is in no list.
func (t *sources) add(s Source) int32 {
	if t.index == nil {
		t.index, t.states = map[Source]int32{}, make([]sourceState, 1)
	}
	var i int32
	if n := len(t.free); n > 0 {
		i, t.free = t.free[n-1], t.free[:n-1]
	} else {
		i = int32(len(t.states))
		t.states = append(t.states, sourceState{})
	}
	t.states[i] = sourceState{source: s}
	t.index[s] = i
	return i
}

// remove removes a state.
func (t *sources) remove(i int32) {
	st := &t.states[i]
	t.move(i, listNone)
	t.clearPenalty(st)
	delete(t.index, st.source)
	*st = sourceState{}
	t.free = append(t.free, i)
}

// clearPenalty takes a state out of the count of those with a penalty.
func (t *sources) clearPenalty(st *sourceState) {
	if st.penalized {
		st.penalized = false
		t.penalized--
	}
}

// move moves a state to the end of a list.
func (t *sources) move(i int32, list uint8) {
	st := &t.states[i]
	if st.list != listNone {
		t.link(st.prev, st.next, st.list)
		t.length[st.list]--
	}
	st.list, st.prev, st.next = list, 0, 0
	if list == listNone {
		return
	}
	if st.prev = t.tail[list]; st.prev != 0 {
		t.states[st.prev].next = i
	} else {
		t.head[list] = i
	}
	t.tail[list] = i
	t.length[list]++
}

// link makes two states neighbours in a list. The number 0 stands for its end.
func (t *sources) link(a, b int32, list uint8) {
	if a != 0 {
		t.states[a].next = b
	} else {
		t.head[list] = b
	}
	if b != 0 {
		t.states[b].prev = a
	} else {
		t.tail[list] = a
	}
}

// reclassify moves a state without live connections to the list where it
// belongs, or removes it if there is nothing to remember. Then it removes idle
// states until at most limit states without live connections are left. The
// argument decay is how long the level of a penalty is remembered after its
// end.
func (t *sources) reclassify(i int32, now, decay int64, limit int) {
	st := &t.states[i]
	if st.until > now {
		t.move(i, listPenalized)
	} else {
		t.clearPenalty(st)
		if st.expired(now, decay) {
			t.remove(i)
		} else {
			t.move(i, listIdle)
		}
	}
	for t.length[listIdle] > 0 && t.length[listIdle]+t.length[listPenalized] > limit {
		t.remove(t.head[listIdle])
	}
}

// expired reports whether there is nothing to remember of a state that has no
// live connections and no penalty.
func (st *sourceState) expired(now, decay int64) bool {
	return int64(st.bucket) <= now && (st.level == 0 || st.until+decay <= now)
}

// expireSome checks the head of each list, which was not checked for longest.
// One connection adds fewer states than expireSome checks. So in the end every
// expired state is removed.
func (t *sources) expireSome(now, decay int64, limit int) {
	for range 2 {
		if i := t.head[listPenalized]; i != 0 {
			t.reclassify(i, now, decay, limit)
		}
		if i := t.head[listIdle]; i != 0 && t.states[i].expired(now, decay) {
			t.remove(i)
		}
	}
}
