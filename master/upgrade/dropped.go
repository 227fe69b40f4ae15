package upgrade

// notCarried is all that a master knows or does and does not hand over, and why. What a
// user would notice has a name by which "upgraded" tells of it (Dropped).
var notCarried = []struct {
	what, why string
}{
	// Clients of the control socket whose request is not answered within a moment are cut
	// off, but for the one that waits for the upgrade. What they ask for can be asked again.
	{"requests at the control socket", "answered before, or to be sent again"},
	// learn asks again and again for what is observed, and says that it is over.
	{"observations of services (learn)", "their observers are threads of the program"},
	// They are made ahead, for the next connection.
	{"boxes that no worker is in", "made anew from the configuration"},
	// They are a picture of the machine.
	{"what was looked up (accounts, programs, host names)", "looked up anew with the configuration"},
	// What these do is begun again.
	{"looks at clients that may have gone, and at early closes", "begun again at the next check of limits"},
}
