package top

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/preforkd/preforkd/master/control"
)

// programFile is the variable that makes the test binary a top that looks into
// the file it names.
const programFile = "TOP_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(programFile); path != "" {
		err := Run(Options{
			Source: fileSource{path}, Interval: 5 * time.Millisecond,
			Input: os.Stdin, Output: os.Stdout, Getenv: os.Getenv,
		})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A fileSource is a master whose status is a file. It is away while there is no
// file, and writes down whom it should have killed.
type fileSource struct{ path string }

func (s fileSource) Status(context.Context) (control.Status, error) {
	var status control.Status
	text, err := os.ReadFile(s.path)
	if err == nil {
		err = json.Unmarshal(text, &status)
	}
	return status, err
}

func (s fileSource) Kill(_ context.Context, conn, signal string) error {
	return os.WriteFile(s.path+".killed", []byte(conn+" "+signal), 0o600)
}
