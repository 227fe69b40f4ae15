//go:build !upgradefault

package upgrade

// choose returns the formats of the program as it is built for users: all. With the tag
// upgradefault a file beside the program chooses.
func choose(all []format) []format { return all }
