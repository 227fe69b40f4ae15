// Package learning holds which services are observed for clients of the control
// socket, so that they learn what the workers of a service use.
//
// A Set is all observations. The master's loop owns it. A Learning is one: for whom it
// is made, in which box the workers of the service run meanwhile, and when its client
// was heard of last. The package decides whether a service may be observed, and what
// ends an observation. It makes no box, changes no service, and finds out nothing about
// processes: the loop puts the box in force and takes it out again, and package box
// knows what was used.
//
// Observations are not carried to the next master: what is known of a service is within
// boxes that the next master does not have. Its client is told that there is none.
package learning
