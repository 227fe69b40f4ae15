package control

import "net/http"

func (s *Server) learn(r *http.Request, body []byte, peer Peer) (any, error) {
	service, err := serviceParameter(body)
	if err != nil {
		return nil, err
	}
	return result(s.backend.Learn(r.Context(), service, peer))
}

func (s *Server) learned(r *http.Request, body []byte, _ Peer) (any, error) {
	var p struct {
		End bool `json:"end"`
	}
	if err := parameters(body, &p); err != nil {
		return nil, err
	}
	return result(s.backend.Learned(r.Context(), r.PathValue("id"), p.End))
}

// serviceParameter decodes a body that names a service, and nothing else.
func serviceParameter(body []byte) (string, error) {
	var p struct {
		Service string `json:"service"`
	}
	if err := parameters(body, &p); err != nil {
		return "", err
	}
	if p.Service == "" {
		return "", Errorf(Invalid, "the service is missing")
	}
	return p.Service, nil
}
