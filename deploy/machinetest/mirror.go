package machinetest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// mirror returns the address of the Debian mirror that apt uses on this machine.
func mirror(ctx context.Context) (string, error) {
	// apt-get knows every form and every place of its sources. Of a target it prints
	// the repository, the suite and the component (apt-get(8), indextargets).
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt-get for the mirror: %w", err)
	}
	return chooseMirror(string(out))
}

// chooseMirror returns the first repository that has the whole of a release, which
// that of security updates has not.
func chooseMirror(targets string) (string, error) {
	for line := range strings.Lines(targets) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "main" && !strings.Contains(fields[1], "security") {
			return fields[0], nil
		}
	}
	return "", errors.New("the sources of apt name no mirror of Debian")
}
