package main

import (
	"testing"

	"github.com/preforkd/preforkd/cmd/preforkd-bench/counts"
)

// The recorded counts are of the forms of preforkd that are counted.
func TestEverySubjectIsRecorded(t *testing.T) {
	recorded, err := counts.Read("../../" + recordedFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range subjects("preforkd") {
		if len(recorded.Subjects[s.Name]) == 0 {
			t.Errorf("nothing is recorded of %s", s.Name)
		}
		delete(recorded.Subjects, s.Name)
	}
	for name := range recorded.Subjects {
		t.Errorf("recorded is %s, which is not counted", name)
	}
}
