// The plug-in of guests/extism, in Go with its own library: host.go has what Extism's package for Go asks of its host.
package main

import (
	"fmt"
	"strconv"
	"strings"
)

//go:wasmexport count_vowels
func countVowels() int32 {
	vowels, configured := config("vowels")
	if !configured {
		vowels = "aeiouAEIOU"
	}
	count := 0
	for _, letter := range string(input()) {
		if strings.ContainsRune(vowels, letter) {
			count++
		}
	}
	total := count
	if before, kept := variable("total"); kept {
		earlier, _ := strconv.Atoi(before)
		total += earlier
	}
	keep("total", strconv.Itoa(total))
	output([]byte(fmt.Sprintf(`{"count":%d,"total":%d,"vowels":"%s"}`, count, total, vowels)))
	return 0
}

//go:wasmexport echo
func echo() int32 {
	output(input())
	return 0
}

// Asks the host.
//
//go:wasmexport tide_at
func tideAt() int32 {
	harbour := string(input())
	height := load(tide(store([]byte(harbour))))
	output([]byte(harbour + ": " + string(height)))
	return 0
}

//go:wasmexport fails
func fails() int32 {
	errorSet(store([]byte("no tide today: " + string(input()))))
	return 7
}

func main() {}
