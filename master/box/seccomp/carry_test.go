package seccomp

import (
	"runtime"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// A Judge goes over as it is, and what is none is refused.
func TestCarryJudge(t *testing.T) {
	program, err := Compile(runtime.GOARCH, Config{RestrictNamespaces: true, AddressFamilies: []int{unix.AF_UNIX}})
	if err != nil {
		t.Fatal(err)
	}
	judge, err := NewJudge(program)
	if err != nil {
		t.Fatal(err)
	}
	text := judge.Export()
	again, err := RestoreJudge(text)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(again.program, program) || !slices.Equal(again.Export(), text) {
		t.Error("the program has changed")
	}
	if none, err := RestoreJudge((*Judge)(nil).Export()); none != nil || err != nil {
		t.Errorf("nothing is %v, %v", none, err)
	}
	for name, text := range map[string][]byte{
		"half of an instruction": text[:len(text)-4],
		"too many":               slices.Repeat(text[:instructionSize], maxInstructions+1),
		"no end":                 text[:instructionSize],
		"no instructions":        slices.Repeat([]byte{0xff}, 2*instructionSize),
	} {
		if _, err := RestoreJudge(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Any bytes are a Judge or an error.
func FuzzRestoreJudge(f *testing.F) {
	f.Add([]byte{0x06, 0, 0, 0, 0, 0, 0xff, 0x7f}, uint32(1), uint32(2), uint64(3))
	f.Add([]byte{0x20, 0, 0, 0, 0, 0, 0, 0, 0x06, 0, 0, 0, 0, 0, 0xff, 0x7f}, uint32(1), uint32(2), uint64(3))
	f.Fuzz(func(t *testing.T, text []byte, arch, number uint32, argument uint64) {
		judge, err := RestoreJudge(text)
		if err != nil || judge == nil {
			return
		}
		judge.Action(arch, number, [6]uint64{argument})
	})
}
