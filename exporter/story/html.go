package story

import (
	"html/template"
	"io"
	"strings"
)

// page is a document of its own: nothing is loaded from elsewhere. "story" is what it
// says of a story, for other pages, too.
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"svg":   func(s *Story) template.HTML { return template.HTML(s.svg(false)) }, // all text in it is escaped
	"about": (*Story).about,
}).Parse(`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{{(index . 0).Name}}: {{(index . 0).Headline}}</title>
<style>
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;margin:0;padding:1rem;background:#fff;color:#1f2328}
.picture,.events{overflow-x:auto}
h1{font-size:1.25rem;margin:.5rem 0 0}
h2{font-size:1rem;margin:1.2rem 0 .3rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;max-width:70rem}
th{text-align:left;font-weight:600}
td,th{padding:.15rem .8rem .15rem 0;vertical-align:top;border-bottom:1px solid #d1d9e0}
td:first-child,td:nth-child(3){text-align:right;white-space:nowrap}
code{font-size:.85rem;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}td,th{border-color:#3d444d}}
</style>
</head>
<body>
<main>
{{range .}}<h1>{{.Name}}: {{.Headline}}</h1>
{{template "story" .}}{{end}}</main>
</body>
</html>
{{define "story"}}<p class="about">{{about .}}</p>
<div class="picture" tabindex="0" role="region" aria-label="The connections, drawn">{{svg .}}</div>
<ul class="says">
{{range .Says}}<li>{{.}}</li>
{{end}}</ul>
{{range .Lanes}}<section class="lane"><h2>{{.Label}}, port {{.Port}}: {{.Verdict}}{{with .Cause}}, {{.}}{{end}}</h2>
<p class="ids"><code>id {{.ID}}, community id {{.CommunityID}}</code></p>
<div class="events" tabindex="0" role="region" aria-label="What happened on {{.Label}}"><table><thead><tr><th scope="col">at</th><th scope="col">what</th><th scope="col">lasts</th><th scope="col">note</th>{{if .Frame}}<th scope="col">frames</th>{{end}}</tr></thead><tbody>
{{$frames := .Frame}}{{range .Events}}<tr><td>{{.At}}</td><td>{{.What}}</td><td>{{.Lasts}}</td><td>{{.Note}}</td>{{if $frames}}<td>{{.Frames}}</td>{{end}}</tr>
{{end}}</tbody></table></div></section>
{{end}}<section class="lane"><h2>Display filter of Wireshark</h2>
<p><code>{{.Filter}}</code></p></section>
{{end}}`))

// WriteHTML writes a page with the stories, which needs nothing else. There is at least
// one.
func WriteHTML(w io.Writer, stories ...*Story) error { return page.Execute(w, stories) }

// HTML is the story as a part of a page, whose heading is Name and Headline.
func (s *Story) HTML() template.HTML {
	var b strings.Builder
	if err := page.ExecuteTemplate(&b, "story", s); err != nil {
		return template.HTML(template.HTMLEscapeString(err.Error())) // a Builder takes everything
	}
	return template.HTML(b.String())
}

// An Event is what happened on a connection at a moment, in words.
type Event struct{ At, What, Lasts, Note, Frames string }

// Events are what happened on a connection, in order.
func (d *Lane) Events() (list []Event) {
	for _, e := range d.lines() {
		list = append(list, Event{At: clock(e.at), What: e.what, Lasts: e.lasts, Note: e.note, Frames: e.frames})
	}
	return list
}
