module hybrid-cache/images/kind-node/pause

go 1.24.0
