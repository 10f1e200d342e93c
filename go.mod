module orlop.dev/orlop

go 1.26.0

require (
	github.com/agnivade/levenshtein v1.2.2
	github.com/distribution/reference v0.6.0
	github.com/docker/go-units v0.5.0
	github.com/opencontainers/go-digest v1.0.0
	k8s.io/apimachinery v0.37.2
)
