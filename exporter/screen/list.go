package screen

import (
	"slices"
)

// A list has rows of which one is selected. The selection stays with its row, wherever
// that moves to; until somebody has moved it, it stays at the top.
type list struct {
	keys   []string // of the rows, in their order
	cursor int
	chosen string // the key of the selected row, "" at the top
	offset int    // the first row shown
	height int    // rows there is room for
}

// set takes the rows in their order.
func (l *list) set(keys []string) {
	l.keys = keys
	if l.chosen == "" {
		l.cursor = 0
	} else if i := slices.Index(keys, l.chosen); i >= 0 {
		l.cursor = i
	}
	l.clamp()
}

// move moves the cursor.
func (l *list) move(rows int) {
	l.cursor += rows
	l.clamp()
	if len(l.keys) > 0 {
		l.chosen = l.keys[l.cursor]
	}
}

// top goes to the first row, and stays there.
func (l *list) top() {
	l.cursor, l.chosen = 0, ""
	l.clamp()
}

func (l *list) clamp() {
	l.cursor = max(min(l.cursor, len(l.keys)-1), 0)
	l.show(l.height)
}

// show fits the rows shown to a height, the selected one among them, and returns where
// they begin and end.
func (l *list) show(height int) (from, to int) {
	l.height = height
	if l.cursor < l.offset {
		l.offset = l.cursor
	}
	if height > 0 && l.cursor >= l.offset+height {
		l.offset = l.cursor - height + 1
	}
	l.offset = max(min(l.offset, len(l.keys)-height), 0)
	return l.offset, min(l.offset+max(height, 0), len(l.keys))
}

// position says which row is selected, of how many.
func (l *list) position() (at, of int) { return min(l.cursor+1, len(l.keys)), len(l.keys) }
