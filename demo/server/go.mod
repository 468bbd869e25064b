module example.com/witness-demo

go 1.26

require golang.org/x/net v0.12.0
