package main

import (
	"runtime/debug"
	"testing"
)

func TestVersionOf(t *testing.T) {
	const full = "98b3284eb91213219486c348c3fa0260331c8b58"
	vcs := []debug.BuildSetting{{Key: "vcs", Value: "git"}, {Key: "vcs.revision", Value: full}}
	tests := []struct {
		name, module string
		settings     []debug.BuildSetting
		linked       [2]string
		version      string
		commit       string
	}{
		{"linked", "(devel)", nil, [2]string{"1.2.3", full}, "1.2.3", full},
		{"linked with the v of a tag", "(devel)", nil, [2]string{"v1.2.3", ""}, "1.2.3", "unknown"},
		{"linked, in a clone", "v1.2.2", vcs, [2]string{"1.2.3", "abc"}, "1.2.3", "abc"},
		{"go build of a tag in a clone", "v1.2.3", vcs, [2]string{}, "1.2.3", full},
		{"go build in a clone", "v1.2.4-0.20261126153826-98b3284eb912+dirty", vcs, [2]string{}, "1.2.4-0.20261126153826-98b3284eb912+dirty", full},
		{"go install of a tag", "v1.2.3", nil, [2]string{}, "1.2.3", "unknown"},
		{"go install of a commit", "v1.2.4-0.20261126153826-98b3284eb912", nil, [2]string{}, "1.2.4-0.20261126153826-98b3284eb912", "98b3284eb912"},
		{"go install of a commit without a tag", "v0.0.0-20261126153826-98b3284eb912", nil, [2]string{}, "0.0.0-20261126153826-98b3284eb912", "98b3284eb912"},
		{"a trial that looks like a commit", "v1.2.3-20261126-98b3284eb912", nil, [2]string{}, "1.2.3-20261126-98b3284eb912", "unknown"},
		{"go build without history", "(devel)", nil, [2]string{}, "(devel)", "unknown"},
		{"nothing", "", nil, [2]string{}, "(devel)", "unknown"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: tt.module}, Settings: tt.settings}
			if v, c := versionOf(info, tt.linked[0], tt.linked[1]); v != tt.version || c != tt.commit {
				t.Errorf("version %q, commit %q, want %q and %q", v, c, tt.version, tt.commit)
			}
		})
	}
}
