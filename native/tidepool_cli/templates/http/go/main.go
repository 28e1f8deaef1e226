// A handler of HTTP: serve is called with each request. wasi.go has the imports, exchange.go what is made of them.
package main

import "strings"

var plain = field{"content-type", "text/plain"}

//go:wasmexport wasi:http/incoming-handler@0.2.12#handle
func serve(request, out int32) {
	x := exchange{handle(request), handle(out)}
	lent = 0
	path, _, _ := strings.Cut(x.target(), "?")
	switch path {
	case "/":
		if name, whole := x.body(); whole {
			x.text(200, "Hello, "+name+"!")
		}
	default:
		x.text(404, "there is nothing here\n")
	}
	dropRequest(x.request)
}

// The body of the request, and whether it was there up to its end.
func (x exchange) body() (string, bool) {
	var text strings.Builder
	_, whole := x.read(func(bytes string) bool {
		text.WriteString(bytes)
		return true
	})
	return text.String(), whole
}

func (x exchange) text(code uint32, text string) {
	if to := x.respond(code, plain); to.write(text) {
		to.finish(0)
	} else {
		to.leave()
	}
}

func main() {}
