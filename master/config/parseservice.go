package config

import "fmt"

// ParseService returns the service of a text that Service.TOML has made, maybe of another
// version. It looks for nothing on this machine: what the service names may be gone, and
// the connections of the service are there. So only what can be told from the text is
// checked. An error names the service and the key, and has no positions.
func ParseService(name, text string) (Service, error) {
	root, err := parseDocument(name, []byte(text))
	if err != nil {
		return Service{}, fmt.Errorf("service %s: %w", name, err)
	}
	var errs ConfigErrors
	c := Default()
	c.decode(root, &errs)
	if len(errs) == 0 && (len(c.Services) != 1 || c.Services[0].Name != name || len(root.order) != 1) {
		return Service{}, fmt.Errorf("service %s: its section is not that of this one service", name)
	}
	if len(errs) == 0 {
		s := &c.Services[0]
		s.complete()
		s.shareBox()
		v := validator{s.scope(), s.at, &errs}
		s.validateName(v)
		s.validateHandler(v)
		s.validateSpares(v)
		s.validateLimits(v)
	}
	for i := range errs {
		errs[i].At = Position{}
	}
	if err := errs.err(); err != nil {
		return Service{}, err
	}
	return c.Services[0], nil
}
