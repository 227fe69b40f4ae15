package carrytest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/preforkd/preforkd/master/carry"
)

// descriptors are equal if there is one or none, because Again gives them new numbers.
var descriptors = cmp.Comparer(func(a, b carry.FD) bool { return (a == carry.None) == (b == carry.None) })

// texts are compared at once. They may be long.
var texts = cmp.FilterValues(func(a, b []byte) bool { return len(a) > 0 || len(b) > 0 }, cmp.Comparer(bytes.Equal))

// Same fails the test if two states differ in more than the numbers of descriptors.
func Same(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got, descriptors, texts, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("the state differs (- want, + got):\n%s", diff)
	}
}

// Again returns a state as the program that takes over reads it. In one process two
// programs cannot own the same descriptors. So the state has copies of those that were
// kept, and it is the caller's business to close them, as it is for the originals.
func Again[S any](t testing.TB, state *S, d *carry.Descriptors) (*S, *carry.Descriptors) {
	t.Helper()
	text, err := json.Marshal(state)
	if err != nil {
		t.Fatal(err)
	}
	again := new(S)
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	copies, taken := map[carry.FD]carry.FD{}, carry.NewDescriptors()
	for _, fd := range d.Numbers() {
		n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
		if err == unix.EBADF {
			n, err = fd, nil // only a number, as in a rehearsal
		}
		if err != nil {
			t.Fatal(err)
		}
		copies[carry.FD(fd)] = taken.Keep(n)
	}
	renumber(reflect.ValueOf(again), copies)
	return again, taken
}

// renumber puts the copies in the places of descriptors.
func renumber(v reflect.Value, copies map[carry.FD]carry.FD) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			renumber(v.Elem(), copies)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			renumber(v.Field(i), copies)
		}
	case reflect.Slice:
		for i := range v.Len() {
			renumber(v.Index(i), copies)
		}
	case reflect.Int:
		if fd, ok := v.Interface().(carry.FD); ok && fd != carry.None {
			v.Set(reflect.ValueOf(copies[fd]))
		}
	}
}
