package story

import (
	"encoding/json"
	"io"
)

// WriteJSON writes one object with the stories in a list.
func WriteJSON(w io.Writer, stories ...*Story) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Stories []*Story `json:"stories"`
	}{stories})
}
