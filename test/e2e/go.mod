module orlop.dev/orlop/test/e2e

go 1.26.0

require (
	orlop.dev/orlop v0.0.0
	orlop.dev/orlop/test/lab v0.0.0
)

replace (
	orlop.dev/orlop => ../..
	orlop.dev/orlop/test/lab => ../lab
)
