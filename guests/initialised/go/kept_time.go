//go:build initialised_time

package main

import "time"

func init() { kept = time.Now().String() }
