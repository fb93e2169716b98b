package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A size is a number of bytes, written as 262144, 256KiB, 64MiB or 1GiB.
type size int64

type sizeUnit struct {
	suffix string
	bytes  float64
}

var sizeUnits = []sizeUnit{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"B", 1}, {"", 1}}

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *size) UnmarshalText(text []byte) error {
	for _, u := range sizeUnits {
		number, ok := strings.CutSuffix(string(text), u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil || n < 0 || math.IsNaN(n) || n*u.bytes > 1<<50 {
			break
		}
		*s = size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is no size: write 64MiB, say", text)
}

// String writes the number in the largest unit in which it is whole.
func (s size) String() string {
	for _, u := range []string{"GiB", "MiB", "KiB"} {
		i := slices.IndexFunc(sizeUnits, func(k sizeUnit) bool { return k.suffix == u })
		if n := size(sizeUnits[i].bytes); s != 0 && s%n == 0 {
			return fmt.Sprintf("%d%s", s/n, u)
		}
	}
	return strconv.FormatInt(int64(s), 10)
}
