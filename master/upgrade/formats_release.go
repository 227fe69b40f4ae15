//go:build !upgradefault

package upgrade

// choose returns the formats of this build: all of them. With the tag upgradefault a file
// beside the program chooses.
func choose(all []format) []format { return all }
