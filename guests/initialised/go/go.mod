module initialised

go 1.24
