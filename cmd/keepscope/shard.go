package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/keepscope/keepscope/exporter/report"
)

// shard is which part of the pairs of hosts is analysed, as 0/4; the zero value is
// all of them.
type shard struct{ report.Shard }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *shard) UnmarshalText(text []byte) error {
	index, of, two := strings.Cut(string(text), "/")
	i, err1 := strconv.Atoi(index)
	n, err2 := strconv.Atoi(of)
	if !two || err1 != nil || err2 != nil || n < 1 || n > report.MaxShards || i < 0 || i >= n {
		return fmt.Errorf("%q: it takes a number from 0 and of how many, at most %d: 0/4, 1/4, 2/4 and 3/4 are all", text, report.MaxShards)
	}
	s.Index, s.Of = i, n
	return nil
}
