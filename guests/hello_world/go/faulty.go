// The faulty guest in Go. The README one folder up says what each operation does.
package main

import (
	"errors"
	"strconv"
)

var table = []int{10, 20, 30}

func handle(operation string, payload []byte) ([]byte, error) {
	if operation == "index" {
		n, err := strconv.Atoi(string(payload))
		if err != nil {
			panic(err)
		}
		return strconv.AppendInt(nil, int64(table[n]), 10), nil
	}
	return nil, errors.New("unknown operation: " + operation)
}
