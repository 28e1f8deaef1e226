// A function of Tidepool: each operation is a case of handle, which wapc.go calls.
package main

import "errors"

func handle(operation string, payload []byte) ([]byte, error) {
	switch operation {
	case "hello":
		return []byte("Hello, " + string(payload) + "!"), nil
	}
	return nil, errors.New("unknown operation: " + operation)
}
