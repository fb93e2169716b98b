package main

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// worded returns what reads the values of flags and says in words what is wrong
// with them.
func worded() []kong.Option {
	return []kong.Option{
		kong.TypeMapper(reflect.TypeFor[time.Duration](), valueMapper("no time: write 10s, 5m or 1h30m, say", func(text string) (any, error) {
			return time.ParseDuration(text)
		})),
		kong.KindMapper(reflect.String, valueMapper("", func(text string) (any, error) { return text, nil })),
		kong.KindMapper(reflect.Int, valueMapper("no whole number", func(text string) (any, error) { return strconv.Atoi(text) })),
		kong.KindMapper(reflect.Uint16, valueMapper("no port: write a number from 1 to 65535", func(text string) (any, error) {
			n, err := strconv.ParseUint(text, 10, 16)
			if n == 0 && err == nil {
				err = strconv.ErrRange
			}
			return uint16(n), err
		})),
		kong.KindMapper(reflect.Uint64, valueMapper("no whole number from 0 on", func(text string) (any, error) { return strconv.ParseUint(text, 10, 64) })),
	}
}

// valueMapper reads one value; not says what one that can't be read is.
func valueMapper(not string, parse func(string) (any, error)) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token := ctx.Scan.Pop() // also one such as -5s, which kong takes for a flag
		text := fmt.Sprint(token.Value)
		if token.IsEOL() || token.Type != kong.FlagValueToken && strings.HasPrefix(text, "--") {
			return fmt.Errorf("it takes a value")
		}
		value, err := parse(text)
		if err != nil {
			return fmt.Errorf("%q is %s", text, not)
		}
		target.Set(reflect.ValueOf(value).Convert(target.Type()))
		return nil
	})
}

// formatHelp is kong's help on a flag, with the default that a placeholder hides.
func formatHelp(v *kong.Value) string {
	text := kong.DefaultHelpValueFormatter(v)
	if v.Flag != nil && v.Flag.PlaceHolder != "" && v.HasDefault && !v.IsBool() {
		text += " Default: " + v.Default + "."
	}
	return text
}
