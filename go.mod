module orlop.dev/orlop

go 1.26.0
