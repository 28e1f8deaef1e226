module http

go 1.27
