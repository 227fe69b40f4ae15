// Package show turns a record into what people read: tables of text, and a
// chart. It measures nothing and decides nothing.
package show
