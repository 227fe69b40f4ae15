// Package report turns a record into what people read: tables of text and of
// Markdown, a document, and a chart. It measures nothing and decides nothing.
package report
