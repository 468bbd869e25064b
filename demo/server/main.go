// The server of the demonstration: it renders HTML with a version of golang.org/x/net that an advisory is about
// (GO-2023-1988, fixed in v0.13.0). It listens on loopback only, on a port that it prints.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"

	"golang.org/x/net/html"
)

func page(w http.ResponseWriter, _ *http.Request) {
	document, err := html.Parse(strings.NewReader("<p>Hello, <b>witness</b></p>"))
	if err == nil {
		err = html.Render(w, document)
	}
	if err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	http.HandleFunc("/", page)
	log.Fatal(http.Serve(listener, nil)) //nolint:gosec // a demonstration on loopback
}
