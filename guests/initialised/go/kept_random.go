//go:build initialised_random

package main

import (
	"math/rand/v2"
	"strconv"
)

func init() { kept = strconv.FormatUint(rand.Uint64(), 16) }
