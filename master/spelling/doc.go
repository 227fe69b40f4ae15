// Package spelling finds the word that a person probably meant. It knows nothing of
// the words, and it never corrects anything: the caller names the word in a message.
package spelling
