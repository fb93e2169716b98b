package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestLingering(t *testing.T) {
	tests := []struct {
		name       string
		wait, want time.Duration
		signals    int // at the moment when it is told
		cancelled  bool
	}{
		{"at once", 0, 0, 0, false},
		{"later", 15 * time.Second, 15 * time.Second, 1, false},
		{"told twice", 15 * time.Second, 0, 2, false},
		{"cancelled", 15 * time.Second, 0, 1, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				signals := make(chan os.Signal, 2)
				told, tell := context.WithCancel(t.Context())
				ctx, cancel := lingers(told, tt.wait, signals)
				defer cancel()
				time.Sleep(time.Hour)
				if err := ctx.Err(); err != nil {
					t.Fatalf("ended before it was told: %v", err)
				}
				start := time.Now()
				tell()
				for range tt.signals {
					signals <- syscall.SIGTERM
				}
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
