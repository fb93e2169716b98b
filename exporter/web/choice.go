package web

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/keepscope/keepscope/exporter/history"
)

// maxFilter bounds the bytes of a filter.
const maxFilter = 100

// A choice is what a visitor chose, as an address says it. Whatever else an address
// says makes no difference.
type choice struct {
	Path    string // escaped
	Window  string // a name of windows; "" for all
	Filter  string
	Sort    string // a column, with "-" in front for the other direction
	Subject string // of connections
	Page    int    // from 1 on
}

// windows are the times that can be chosen beside all, by their names in an address.
var windows = map[string]history.Window{"5m": history.FiveMinutes, "1h": history.Hour}

func choiceOf(u *url.URL) choice {
	q := u.Query()
	c := choice{Path: u.EscapedPath(), Filter: strings.ToValidUTF8(q.Get("filter"), ""), Page: 1}
	if len(c.Filter) > maxFilter {
		c.Filter = strings.ToValidUTF8(c.Filter[:maxFilter], "")
	}
	if w := q.Get("window"); windows[w] != 0 {
		c.Window = w
	}
	if s := q.Get("sort"); columns[strings.TrimPrefix(s, "-")].by != nil {
		c.Sort = s
	}
	if s := q.Get("subject"); len(s) < 40 {
		c.Subject = s
	}
	if n, err := strconv.Atoi(q.Get("page")); err == nil && n > 1 && n < 1e6 {
		c.Page = n
	}
	return c
}

// String is the address of the choice.
func (c choice) String() string {
	if q := c.query(); q != "" {
		return c.Path + "?" + q
	}
	return c.Path
}

func (c choice) query() string {
	v := url.Values{}
	set := func(name, value string) {
		if value != "" {
			v.Set(name, value)
		}
	}
	set("window", c.Window)
	set("filter", c.Filter)
	set("sort", c.Sort)
	set("subject", c.Subject)
	if c.Page > 1 {
		v.Set("page", strconv.Itoa(c.Page))
	}
	return v.Encode()
}

// Address is an address without what makes no difference to the answer.
func Address(u *url.URL) *url.URL {
	return &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: choiceOf(u).query()}
}

// at is the address of another page with the same window.
func (c choice) at(path string) string { return choice{Path: path, Window: c.Window}.String() }

// serverPath is the path of a server's page.
func serverPath(name string) string { return "/server/" + url.PathEscape(name) }
