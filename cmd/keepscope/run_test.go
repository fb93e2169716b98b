package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestLingering(t *testing.T) {
	tests := []struct {
		name       string
		wait, want time.Duration
		cancelled  bool
	}{
		{"at once", 0, 0, false},
		{"later", 20 * time.Second, 20 * time.Second, false},
		{"cancelled", 20 * time.Second, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told, tell := context.WithCancel(t.Context())
				ctx, cancel := lingering(told, tt.wait)
				defer cancel()
				time.Sleep(time.Hour)
				if err := ctx.Err(); err != nil {
					t.Fatalf("ended before it was told: %v", err)
				}
				start := time.Now()
				tell()
				if tt.cancelled {
					cancel()
				}
				<-ctx.Done()
				if got := time.Since(start); got != tt.want {
					t.Errorf("ended after %v, want %v", got, tt.want)
				}
			})
		})
	}
}
