package config

import "strings"

// A BoxSetting is the value of one key of a box, for people.
type BoxSetting struct {
	Name  string
	Value string // as a file has it, without quotes and brackets; "yes" or "no"; "" for what is not set
	// FromPreset says that the value is the one of the box's preset.
	FromPreset bool
}

// Settings returns the values of the keys by which a box asks for something, in the
// order of the manual. The preset, and keys that only say how another one is meant,
// are not among them.
func (b *Box) Settings() []BoxSetting {
	box := b.completed()
	preset := PresetBox(box.Preset)
	var settings []BoxSetting
	for _, name := range missableKeys() {
		for _, k := range boxKeys {
			if k.name == name {
				value := boxValue(k, &box)
				settings = append(settings, BoxSetting{name, readableValue(value), value == boxValue(k, &preset)})
			}
		}
	}
	return settings
}

// readableValue makes a value of a file one for people.
func readableValue(toml string) string {
	switch toml {
	case "true":
		return "yes"
	case "false":
		return "no"
	}
	return strings.NewReplacer(`"`, "", ",", "", "[", "", "]", "").Replace(toml)
}
