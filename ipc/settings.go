package ipc

// These are the keys of the built-in handlers' settings (Assignment.Settings).
const (
	// SettingQuitWord belongs to echo. A line that equals this word makes the server
	// end the connection. When the setting is empty or missing, no line does.
	SettingQuitWord = "quit-word"
)
