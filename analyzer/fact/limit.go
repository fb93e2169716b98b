package fact

// A Limit is a cap that was met, and how often.
type Limit struct {
	Name  string // in words joined by '_', the value of a label
	Count uint64
	Means string // what happens where it is met, in a sentence
}

// Limits are the caps of all packages, those that were not met included.
type Limits []Limit

// Add adds those of o, of the same caps, to l.
func (l *Limits) Add(o Limits) {
	for _, x := range o {
		found := false
		for i := range *l {
			if y := &(*l)[i]; y.Name == x.Name {
				y.Count += x.Count
				found = true
				break
			}
		}
		if !found {
			*l = append(*l, x)
		}
	}
}
