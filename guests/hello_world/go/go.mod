module hello_world

go 1.24
