package witnessqueryextension

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// refusals listens for a server whose answers are problems even where net/http answers by itself: to what it cannot
// read as a request (a path with %zz, headers that are too long) it writes a line of text past every handler.
//
// A connection with TLS cannot be wrapped this way: there those answers stay text.
type refusals struct{ net.Listener }

// Accept implements net.Listener.
func (l refusals) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &refusingConn{c}, nil
}

type refusingConn struct{ net.Conn }

// plainRefusal is how each answer of net/http of its own starts, behind the status line, and no answer of a handler: it
// has a Date.
const plainRefusal = "Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n"

// Write replaces an answer of net/http of its own, which is written at once.
func (c *refusingConn) Write(b []byte) (int, error) {
	line, rest, _ := bytes.Cut(b, []byte("\r\n"))
	if !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) || !bytes.HasPrefix(rest, []byte(plainRefusal)) {
		return c.Conn.Write(b)
	}
	code, _, _ := strings.Cut(string(line[len("HTTP/1.1 "):]), " ")
	status, err := strconv.Atoi(code)
	if err != nil {
		return c.Conn.Write(b)
	}
	body := fmt.Sprintf(`{"type":"about:blank","title":%q,"status":%d,"detail":%q}`+"\n", http.StatusText(status), status, refusalDetail(status))
	answer := fmt.Sprintf("%s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n%s",
		line, len(body), body)
	if _, err := c.Conn.Write([]byte(answer)); err != nil {
		return 0, err
	}
	return len(b), nil
}

func refusalDetail(status int) string {
	switch status {
	case http.StatusRequestHeaderFieldsTooLarge:
		return "the headers are longer than 1 MiB"
	case http.StatusBadRequest:
		return "this is not an HTTP request: its path is not percent-encoded, or a header is wrong"
	default:
		return "this is not an HTTP request that can be answered"
	}
}
