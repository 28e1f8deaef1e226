// A component: it exports the functions of the world in wit/world.wit. abi.go has how their types lie in memory.
package main

//go:wasmexport hello
func hello(name address, length uint32) address {
	return given("Hello, " + taken(name, length) + "!")
}

func main() {}
