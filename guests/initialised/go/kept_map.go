//go:build initialised_map

package main

import "strconv"

// More elements than fit into one group, so that hashes decide where they are.
var large = map[string]int{}

func init() {
	for n := range 20 {
		large[strconv.Itoa(n)] = n
	}
	kept = strconv.Itoa(len(large))
}
