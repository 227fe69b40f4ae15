package terminal_test

import (
	"testing"

	"github.com/preforkd/preforkd/cmd/internal/systest"
)

func TestMain(m *testing.M) { systest.Main(m) }
