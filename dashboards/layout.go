package dashboards

import (
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// columns is the width of Grafana's grid.
const columns = 24

// A tile is a panel and its width. Its id is what links to the panel and what
// people's bookmarks hold, so it stays when the panel moves.
type tile struct {
	id    uint32
	width uint32
	panel cog.Builder[dashboard.Panel]
}

// A band is a row of tiles of one height; tiles that don't fit in a line begin
// the next. Without a title it takes no line for one, and can't be collapsed.
type band struct {
	id        uint32
	title     string
	height    uint32
	collapsed bool
	tiles     []tile
}

// place puts the bands one below the other and returns the panels.
func place(bands []band) ([]dashboard.PanelOrRowPanel, error) {
	var all []dashboard.PanelOrRowPanel
	y := uint32(0)
	for _, b := range bands {
		if b.title == "" {
			panels, below, err := b.lay(y)
			if err != nil {
				return nil, err
			}
			y = below
			for i := range panels {
				all = append(all, dashboard.PanelOrRowPanel{Panel: &panels[i]})
			}
			continue
		}
		row := dashboard.NewRowPanel()
		row.Type, row.Id, row.Title, row.Collapsed = "row", b.id, ref(b.title), b.collapsed
		row.GridPos = &dashboard.GridPos{X: 0, Y: y, W: columns, H: 1}
		row.Panels = []dashboard.Panel{}
		panels, below, err := b.lay(y + 1)
		if err != nil {
			return nil, err
		}
		y = below
		all = append(all, dashboard.PanelOrRowPanel{RowPanel: row})
		if b.collapsed {
			row.Panels = panels
			y = row.GridPos.Y + 1
			continue
		}
		for i := range panels {
			all = append(all, dashboard.PanelOrRowPanel{Panel: &panels[i]})
		}
	}
	return all, nil
}

// lay returns the band's panels from line y on, and the line below them.
func (b *band) lay(y uint32) (panels []dashboard.Panel, below uint32, err error) {
	x := uint32(0)
	for _, t := range b.tiles {
		if x+t.width > columns {
			x, y = 0, y+b.height
		}
		p, err := t.panel.Build()
		if err != nil {
			return nil, 0, fmt.Errorf("building panel %d of %q: %w", t.id, b.title, err)
		}
		p.Id = ref(t.id)
		p.GridPos = &dashboard.GridPos{X: x, Y: y, W: t.width, H: b.height}
		panels = append(panels, p)
		x += t.width
	}
	return panels, y + b.height, nil
}
