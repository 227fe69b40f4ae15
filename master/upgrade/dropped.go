package upgrade

import "fmt"

// NotCarried is what a master knows or does and does not hand over, and why. What each
// room leaves out of its State stands in the room, in the file with its Export: it
// follows from what goes over.
var NotCarried = []Loss{
	Observations,
	{"requests at the control socket and for metrics", "they have a moment to be answered; who is cut off may ask again. The one for the upgrade is answered by whoever serves then"},
	{"boxes that no connection is in", "they are only made ahead, and made anew from the configuration"},
	{"what was looked up: accounts, programs, host names", "it is looked up anew with the configuration"},
	{"spares and workers for several connections of another version", "spares of the new version take their place; the others end after the connection that they have"},
	{"a reload under way", "the upgrade waits for its end"},
}

// A Loss is something that is not handed over.
type Loss struct{ What, Why string }

// Observations are those of preforkd learn.
var Observations = Loss{"observations of services", "they end: what observes is a thread of the program that ends"}

// Of says of how many things that were there.
func (l Loss) Of(n int) string { return fmt.Sprintf("%d %s", n, l.What) }
