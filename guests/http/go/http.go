// The program of guests/http, in Go with its own library: wasi.go has the imports, exchange.go what is made of them.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
)

var served int

//go:wasmexport wasi:http/incoming-handler@0.2.12#handle
func serve(request, out int32) {
	x := exchange{handle(request), handle(out)}
	served++
	lent = 0
	path, query, _ := strings.Cut(x.target(), "?")
	switch method := x.method(); method + " " + path {
	case "GET /hello":
		x.text("hello")
	case "GET /headers":
		x.list(method)
	case "GET /count":
		x.text(strconv.Itoa(served))
	case "GET /events":
		x.events(query)
	case "POST /echo":
		x.echo()
	case "POST /sha256":
		x.sum()
	case "GET /trap-before":
		panic("before the response")
	case "GET /trap-after":
		x.respond(200, plain).send("half")
		panic("after half of the response")
	case "GET /loop":
		for {
		}
	case "GET /silent":
		x.respond(200, plain).send("one")
		block(afterNanoseconds(1 << 62))
	default:
		code, err := strconv.ParseUint(strings.TrimPrefix(path, "/status/"), 10, 16)
		if strings.HasPrefix(path, "/status/") && err == nil {
			x.respond(uint32(code), field{"x-method", method}).finish(0)
		} else {
			x.respond(404).finish(0)
		}
	}
	dropRequest(x.request)
}

var plain = field{"content-type", "text/plain"}

func (x exchange) text(text string) {
	if to := x.respond(200, plain); to.write(text) {
		to.finish(0)
	} else {
		to.leave()
	}
}

func (x exchange) list(method string) {
	lines := append(x.headers(), field{":method", method}, field{":path", x.target()})
	lines = append(lines, field{":authority", x.authority()}, field{":scheme", x.scheme()})
	slices.SortStableFunc(lines, func(one, other field) int { return strings.Compare(one.name, other.name) })
	var text strings.Builder
	for _, line := range lines {
		text.WriteString(line.name + ": " + line.value + "\n")
	}
	x.text(text.String())
}

func (x exchange) events(query string) {
	count, err := strconv.Atoi(strings.TrimPrefix(query, "n="))
	if err != nil {
		count = 1
	}
	to := x.respond(200, field{"content-type", "text/event-stream"})
	for event := 1; event <= count; event++ {
		if !to.send("data: " + strconv.Itoa(event) + "\n\n") {
			to.leave()
			return
		}
	}
	to.finish(0)
}

func (x exchange) echo() {
	// Over HTTP/1 the second has to name the trailers.
	kept := []string{"content-type", "trailer"}
	headers := slices.DeleteFunc(x.headers(), func(header field) bool { return !slices.Contains(kept, header.name) })
	to := x.respond(200, headers...)
	if trailers, whole := x.read(to.write); whole {
		to.finish(trailers)
	} else {
		to.leave()
	}
}

func (x exchange) sum() {
	hash := sha256.New()
	_, whole := x.read(func(bytes string) bool {
		hash.Write([]byte(bytes))
		return true
	})
	if whole {
		x.text(hex.EncodeToString(hash.Sum(nil)) + "\n")
	}
}

func main() {}
