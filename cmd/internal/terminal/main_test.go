package terminal_test

import (
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }
