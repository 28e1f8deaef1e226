// hello.go
package main

import "errors"

func handle(operation string, payload []byte) ([]byte, error) {
	switch operation {
	case "hello":
		return []byte("Hello, " + string(payload) + "!"), nil
	case "price":
		return hostCall("shop", "products", "price", payload)
	}
	return nil, errors.New("unknown operation: " + operation)
}
