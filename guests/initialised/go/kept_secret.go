//go:build initialised_secret

package main

import "crypto/rand"

func init() { kept = rand.Text() }
