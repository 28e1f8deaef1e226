// Upper-cases the ASCII letters of its input. A WASI command: a plain Go program.
package main

import (
	"bytes"
	"io"
	"os"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		giveUp(1, "upper: "+err.Error())
	}
	if string(bytes.TrimSpace(text)) == "fail" {
		giveUp(3, "upper: asked to fail", "upper: giving up")
	}
	for i, c := range text {
		if 'a' <= c && c <= 'z' {
			text[i] = c - 'a' + 'A'
		}
	}
	if _, err := os.Stdout.Write(text); err != nil {
		giveUp(1, "upper: "+err.Error())
	}
}

func giveUp(status int, lines ...string) {
	for _, line := range lines {
		os.Stderr.WriteString(line + "\n")
	}
	os.Exit(status)
}
