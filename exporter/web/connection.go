package web

import (
	"bytes"
	"fmt"
	"html/template"
	"net/http"
	"strings"

	"github.com/keepscope/keepscope/exporter/prose"
	"github.com/keepscope/keepscope/exporter/story"
)

// A connectionView is a connection's page: its story.
type connectionView struct {
	shell
	Name, Headline string
	Server         string // the address of its server's page, "" without
	Story          template.HTML
}

// connection answers with the story of a connection.
func (s *Site) connection(w http.ResponseWriter, r *http.Request) {
	text, asJSON := strings.CutSuffix(r.PathValue("id"), ".json")
	id, ok := story.ParseID(text)
	var told *story.Story
	if ok {
		told = s.src.Stories.Connection(uint64(id))
	}
	if told == nil {
		missing(w, r, "No such connection", s.gone())
		return
	}
	if asJSON {
		var out bytes.Buffer
		if err := story.WriteJSON(&out, told); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		answer(w, r, http.StatusOK, "application/json", out.Bytes())
		return
	}
	v := &connectionView{
		shell: shell{Title: told.Name + ": " + told.Headline, JSON: "/connection/" + id.String() + ".json"},
		Name:  told.Name, Headline: told.Headline, Story: told.HTML(),
	}
	v.Trail = []link{{"Keepscope", "/", false}}
	if owner := s.now().owner(told.Who); owner != nil {
		v.Trail = append(v.Trail, link{owner.Name, serverPath(owner.Name), false})
	}
	page(w, r, http.StatusOK, "connection.html", v)
}

// gone says why a connection cannot be drawn.
func (s *Site) gone() string {
	if len(s.src.Stories) == 0 {
		return s.none()
	}
	u := s.src.Stories.Usage()
	return fmt.Sprintf("Of each server and cause the newest connections can be drawn, once they have ended: now %s. %s were given up for newer ones where --max-stories was met.",
		prose.Plural(uint64(u.Stories), "connection"), prose.Count(u.Evicted))
}
