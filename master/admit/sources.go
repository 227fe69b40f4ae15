package admit

// A sourceState is what a gate knows of one source. It exists because:
//
//  1. the source's live connections are counted against its limit;
//  2. its bucket is not full, so it may not come as often as it likes;
//  3. it is refused for a penalty;
//  4. it had a penalty not long ago, and the next one is longer.
//
// The first and the third are never forgotten. The others are, oldest first,
// when there are more sources than the policy allows.
type sourceState struct {
	source Source
	bucket bucket
	until  int64 // the end of its last penalty
	live   int32
	next   int32 // in its list; numbers rather than pointers, so that the
	prev   int32 // garbage collector need not look at a million of them
	level  uint8 // of its last penalty
	list   uint8

	// counted says that the state is among those with a penalty.
	counted bool
}

// The lists that a state may be in.
const (
	listNone      = iota // free, or the source has live connections
	listIdle             // may be forgotten, the longest unused first
	listPenalized        // no live connection, but a penalty
	lists
)

// sources holds the states of one gate's sources. Each operation takes the same
// time however many there are: expired penalties are looked for one at a time,
// whenever something else is done.
type sources struct {
	index  map[Source]int32
	states []sourceState // states[0] is unused, so that 0 is no state
	free   []int32
	head   [lists]int32
	tail   [lists]int32
	length [lists]int

	// penalized counts the states, with live connections or without, whose
	// penalty has not been seen to end. It is bounded where penalties are
	// given, so that none of them needs to be forgotten.
	penalized int
}

func newSources() *sources {
	return &sources{index: map[Source]int32{}, states: make([]sourceState, 1)}
}

// find returns the number of a source's state, or 0.
func (t *sources) find(s Source) int32 { return t.index[s] }

// add makes a state for a source that has none. It is in no list.
func (t *sources) add(s Source) int32 {
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

// forget gives a state up.
func (t *sources) forget(i int32) {
	st := &t.states[i]
	t.move(i, listNone)
	t.serve(st)
	delete(t.index, st.source)
	*st = sourceState{}
	t.free = append(t.free, i)
}

// serve takes a state out of the count of those with a penalty.
func (t *sources) serve(st *sourceState) {
	if st.counted {
		st.counted = false
		t.penalized--
	}
}

// move puts a state at the end of a list.
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

// link makes two states of a list neighbours; 0 is the end.
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

// settle puts a state without live connections where it belongs, or forgets it
// when there is nothing to remember, and keeps the number of such states within
// most. decay is how long a level outlasts its penalty.
func (t *sources) settle(i int32, now, decay int64, most int) {
	st := &t.states[i]
	if st.until > now {
		t.move(i, listPenalized)
	} else {
		t.serve(st)
		if st.expired(now, decay) {
			t.forget(i)
		} else {
			t.move(i, listIdle)
		}
	}
	for t.length[listIdle] > 0 && t.length[listIdle]+t.length[listPenalized] > most {
		t.forget(t.head[listIdle])
	}
}

// expired reports whether nothing about a state without live connections and
// without a penalty is worth remembering.
func (st *sourceState) expired(now, decay int64) bool {
	return int64(st.bucket) <= now && (st.level == 0 || st.until+decay <= now)
}

// sweep looks at the states in each list that were not looked at for longest:
// at more of them than one connection adds, so that in the end everything that
// has expired is forgotten.
func (t *sources) sweep(now, decay int64, most int) {
	for range 2 {
		if i := t.head[listPenalized]; i != 0 {
			t.settle(i, now, decay, most)
		}
		if i := t.head[listIdle]; i != 0 && t.states[i].expired(now, decay) {
			t.forget(i)
		}
	}
}
