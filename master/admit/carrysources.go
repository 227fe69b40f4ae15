package admit

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// sourcesLayout is the first byte of packed sources, which tells how the rest is read.
const sourcesLayout = 1

// The kinds of packed sources.
const (
	packedUnix = iota // 4 bytes: the uid
	packedV4          // the prefix length, 4 bytes
	packedV6          // the prefix length, 16 bytes
)

// How a packed source stands. A penalty counts for MaxSources (sources.penalized).
const (
	packedLive          = iota // it has live connections
	packedLivePenalized        // it has live connections, and a penalty that counts
	packedIdle                 // it is in listIdle
	packedPenalized            // it is in listPenalized, and its penalty counts
	packedStandings
)

// The shortest packed source is one of a user, and most are not longer than that of an
// IPv4 address with a full bucket and a penalty.
const (
	shortestPacked = 9
	usualPacked    = 20
)

// export packs the sources, each once: those in lists in the order of their lists, then
// those that have live connections. There may be a million. Before them comes the layout,
// 1 byte, and their number, a uvarint.
func (t *sources) export() []byte {
	if len(t.index) == 0 {
		return nil
	}
	packed := append(make([]byte, 0, 16+len(t.index)*usualPacked), sourcesLayout)
	packed = binary.AppendUvarint(packed, uint64(len(t.index)))
	listed := make([]bool, len(t.states)) // or free
	for _, list := range []uint8{listIdle, listPenalized} {
		for i := t.head[list]; i != 0; i = t.states[i].next {
			listed[i] = true
			packed = appendSource(packed, &t.states[i])
		}
	}
	for _, i := range t.free {
		listed[i] = true
	}
	for i := 1; i < len(t.states); i++ {
		if !listed[i] {
			packed = appendSource(packed, &t.states[i])
		}
	}
	return packed
}

// appendSource appends a packed source:
//
//	how it stands     1 byte
//	kind              1 byte, then the bytes of that kind
//	level             1 byte
//	bucket, until     uvarint, nanoseconds after GateState.Start
func appendSource(b []byte, st *sourceState) []byte {
	standing := byte(packedLive)
	switch {
	case st.list == listIdle:
		standing = packedIdle
	case st.list == listPenalized:
		standing = packedPenalized
	case st.penalized:
		standing = packedLivePenalized
	}
	switch peer, bits := st.source.peer(); {
	case peer.IsUnix():
		b = append(b, standing, packedUnix)
		b = binary.BigEndian.AppendUint32(b, peer.UID)
	case peer.Addr.Is4():
		b = append(b, standing, packedV4, byte(bits))
		b = append(b, peer.Addr.AsSlice()...)
	default:
		b = append(b, standing, packedV6, byte(bits))
		b = append(b, peer.Addr.AsSlice()...)
	}
	b = append(b, st.level)
	b = binary.AppendUvarint(b, uint64(max(st.bucket, 0)))
	return binary.AppendUvarint(b, uint64(max(st.until, 0)))
}

// restore adds packed sources to none. Those with live connections have none yet.
func (t *sources) restore(packed []byte) error {
	if len(packed) == 0 {
		return nil
	}
	if packed[0] != sourcesLayout {
		return fmt.Errorf("sources in layout %d, which this version does not know", packed[0])
	}
	r := unpacker{rest: packed[1:]}
	n := r.uvarint()
	if r.wrong || n > uint64(len(r.rest)/shortestPacked) {
		return fmt.Errorf("%d sources in %d bytes", n, len(r.rest))
	}
	t.index, t.states = make(map[Source]int32, n), make([]sourceState, 1, n+1)
	for nth := range int(n) {
		standing := r.byte()
		st := r.source()
		switch {
		case r.wrong:
			return fmt.Errorf("source %d of a gate: it is cut off or no source", nth+1)
		case standing >= packedStandings || st.level > maxLevel || st.bucket < 0 || st.until < 0:
			return fmt.Errorf("source %v of a gate makes no sense", st.source)
		}
		i := t.add(st.source)
		if len(t.index) == nth {
			return fmt.Errorf("source %v of a gate is there twice", st.source)
		}
		st.penalized = standing == packedLivePenalized || standing == packedPenalized
		if st.penalized {
			t.penalized++
		}
		t.states[i] = st
		switch standing {
		case packedIdle:
			t.move(i, listIdle)
		case packedPenalized:
			t.move(i, listPenalized)
		}
	}
	if len(r.rest) > 0 {
		return fmt.Errorf("%d bytes after %d sources", len(r.rest), n)
	}
	return nil
}

// An unpacker reads packed sources.
type unpacker struct {
	rest  []byte
	wrong bool // there were too few bytes, or they mean nothing
}

func (r *unpacker) bytes(n int) []byte {
	if len(r.rest) < n {
		r.wrong, r.rest = true, nil
		return make([]byte, n)
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *unpacker) byte() byte { return r.bytes(1)[0] }

func (r *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.wrong, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// source reads what appendSource has written after how the source stands.
func (r *unpacker) source() (st sourceState) {
	switch kind := r.byte(); kind {
	case packedUnix:
		st.source = SourceOf(Peer{UID: binary.BigEndian.Uint32(r.bytes(4))}, 0, 0)
	case packedV4, packedV6:
		bits := int(r.byte())
		n := 4
		if kind == packedV6 {
			n = 16
		}
		addr, _ := netip.AddrFromSlice(r.bytes(n))
		if bits > addr.BitLen() || addr.Is4In6() {
			r.wrong = true
			return st
		}
		st.source = SourceOf(Peer{Addr: addr}, bits, bits)
	default:
		r.wrong = true
		return st
	}
	st.level = r.byte()
	st.bucket, st.until = bucket(r.uvarint()), int64(r.uvarint())
	return st
}
