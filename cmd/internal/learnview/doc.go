// Package learnview prints what a master has learned of a service as the keys of a box.
//
// It owns the text, which is part of a configuration file. It asks no master, and knows
// what connections have used only from control.Learned.
package learnview
