//go:build !upgradefault

package fault

// At does nothing in this build. With the tag upgradefault it fails, if the file beside
// the program says so for this step.
func At(step string) error { return nil }
