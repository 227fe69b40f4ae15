package ipc

// Keys of the built-in handlers' settings (Assignment.Settings).
const (
	// SettingQuitWord is echo's: a line that is exactly this word ends the
	// connection from the server's side. Empty or not set: no line does.
	SettingQuitWord = "quit-word"
)
