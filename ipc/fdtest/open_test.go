package fdtest

import (
	"os"
	"testing"
)

func TestOpen(t *testing.T) {
	before := Open(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if now := Open(t); now != before+1 {
		t.Errorf("%d with one more than %d", now, before)
	}
	f.Close()
	if now := Open(t); now != before {
		t.Errorf("%d are left of %d", now, before)
	}
}
