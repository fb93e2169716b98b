package main

import (
	"strings"
	"testing"
)

// TestScreenFits: what a live view is for has room in a terminal of 80 columns, and
// no width is overrun.
func TestScreenFits(t *testing.T) {
	for width := range 200 {
		m := &screen{width: width}
		shown, nameWidth, cause := m.fit()
		used, keys := nameWidth, ""
		for _, i := range shown {
			used += columns[i].width
			keys += columns[i].key
		}
		if cause {
			used += causeWidth
		}
		if used > max(width, nameLeast) {
			t.Errorf("%d columns are taken of %d", used, width)
		}
		if width >= 80 && (!cause || !strings.Contains(keys, "w") || !strings.Contains(keys, "e") || !strings.Contains(keys, "c")) {
			t.Errorf("%d columns show %q, with causes %t", width, keys, cause)
		}
	}
}
