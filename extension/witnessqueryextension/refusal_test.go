package witnessqueryextension

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otelcol-witness/otelcol-witness/storage/none"
)

// raw sends bytes and reads one answer.
func raw(t *testing.T, base, request string) (code int, contentType, text string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }()
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, answer.Header.Get("Content-Type"), string(body)
}

func TestEveryRefusalIsAProblem(t *testing.T) {
	base := start(t, local(), host{storageID: storageExtension{store: none.Storage{}}})
	name := "Host: " + strings.TrimPrefix(base, "http://") + "\r\n"
	for _, test := range []struct {
		name, request string
		want          int
	}{
		{"a path that is not encoded", "GET /api/v1/findings/%zz HTTP/1.1\r\n" + name + "\r\n", 400},
		{"no host", "GET /api/v1/findings HTTP/1.1\r\n\r\n", 400},
		{"a header that is none", "GET /api/v1/findings HTTP/1.1\r\n" + name + "a b: c\r\n\r\n", 400},
		{"no HTTP", "hello\r\n\r\n", 400},
		{"huge headers", "GET /api/v1/findings HTTP/1.1\r\n" + name + "X-A: " + strings.Repeat("a", 2<<20) + "\r\n\r\n", 431},
		{"another version", "GET / HTTP/3.0\r\n" + name + "\r\n", 505},
		{"another encoding", "POST / HTTP/1.1\r\n" + name + "Transfer-Encoding: rot13\r\n\r\n", 501},
		{"a method that is none", "G<>T /api/v1/findings HTTP/1.1\r\n" + name + "\r\n", 400},
		{"the server", "OPTIONS * HTTP/1.1\r\n" + name + "\r\n", 404},
		{"an absolute path", "GET http://127.0.0.1/api/v1/nothing HTTP/1.1\r\n" + name + "Connection: close\r\n\r\n", 404},
		{"a method of somebody", "BREW /api/v1/findings HTTP/1.1\r\n" + name + "Connection: close\r\n\r\n", 405},
	} {
		t.Run(test.name, func(t *testing.T) {
			code, contentType, body := raw(t, base, test.request)
			assert.Equal(t, test.want, code)
			assert.Equal(t, "application/problem+json", contentType)
			var p problem
			require.NoError(t, json.Unmarshal([]byte(body), &p), body)
			assert.Equal(t, test.want, p.Status)
			assert.NotEmpty(t, p.Title)
		})
	}
}

func TestAllowedOrigins(t *testing.T) {
	config := local()
	config.HTTP.CORS = configoptional.Some(confighttp.CORSConfig{AllowedOrigins: []string{"https://board.example", "http://localhost:3000"}})
	require.NoError(t, confmap.Validate(config))
	base := start(t, config, host{storageID: storageExtension{store: none.Storage{}}})
	for _, test := range []struct {
		name, method, origin string
		want                 int
		allowed              string
	}{
		{"allowed", http.MethodGet, "https://board.example", 200, "https://board.example"},
		{"preflight", http.MethodOptions, "http://localhost:3000", 204, "http://localhost:3000"},
		{"no origin", http.MethodGet, "", 200, ""},
		{"another", http.MethodGet, "https://evil.example", 403, ""},
		{"another's preflight", http.MethodOptions, "https://evil.example", 403, ""},
		{"a part", http.MethodGet, "https://board.example.evil.example", 403, ""},
		{"another scheme", http.MethodGet, "http://board.example", 403, ""},
		{"null", http.MethodGet, "null", 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, err := http.NewRequest(test.method, base+"/api/v1/findings", nil)
			if test.origin != "" {
				r.Header.Set("Origin", test.origin)
			}
			if test.method == http.MethodOptions {
				r.Header.Set("Access-Control-Request-Method", http.MethodPost)
			}
			code, header, _ := do(t, r, err)
			assert.Equal(t, test.want, code)
			assert.Equal(t, test.allowed, header.Get("Access-Control-Allow-Origin"))
			assert.Empty(t, header.Get("Strict-Transport-Security"), "no TLS")
		})
	}
}

func TestTLS(t *testing.T) {
	directory := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(directory, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
		return path
	}
	config := local()
	server := configtls.NewDefaultServerConfig()
	server.CertFile, server.KeyFile = write("cert.pem", "CERTIFICATE", certificate), write("key.pem", "PRIVATE KEY", der)
	config.HTTP.TLS = configoptional.Some(server)
	config.HTTP.NetAddr.Endpoint = "0.0.0.0:0"
	config.AllowInsecure = true // no authenticator
	base := start(t, config, host{storageID: storageExtension{store: copier{}}})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(base, "http://"))
	require.NoError(t, err)
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(certificate)
	require.NoError(t, err)
	roots.AddCert(parsed)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{"/api/v1/findings": http.StatusMethodNotAllowed, backupPath: http.StatusForbidden} {
		r, err := http.NewRequest(http.MethodPost, "https://127.0.0.1:"+port+path, nil)
		require.NoError(t, err)
		answer, err := transport.RoundTrip(r)
		require.NoError(t, err)
		answer.Body.Close()
		assert.Equal(t, "HTTP/2.0", answer.Proto)
		assert.Equal(t, "max-age=31536000", answer.Header.Get("Strict-Transport-Security"))
		assert.Equal(t, want, answer.StatusCode, "allow_insecure makes nobody an admin")
	}
}
