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

// envStatusFile names a file. With it the test program runs top, with the status of
// this file.
const envStatusFile = "TOP_TEST_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(envStatusFile); path != "" {
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

// A fileSource is a master whose status is in a file. Without the file it does not
// answer. It writes down which connection a kill was for.
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
