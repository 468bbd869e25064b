package witnessqueryextension

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"
)

func TestOpenOTLP(t *testing.T) {
	const http = "receivers::otlp::protocols::http::endpoint"
	for name, test := range map[string]struct {
		receivers string
		want      []string
	}{
		"a protocol that is not used": {`{otlp: {protocols: {grpc: , http: {endpoint: "localhost:2"}}}}`, []string{}},
		"no endpoint":                 {`{otlp: {protocols: {http: {transport: tcp}}}}`, []string{http}},
		"loopback":                    {`{otlp: {protocols: {grpc: {endpoint: "localhost:1"}, http: {endpoint: "127.0.0.1:2"}}}}`, []string{}},
		"a unix socket":               {`{otlp: {protocols: {grpc: {endpoint: /run/x.sock, transport: unix}}}}`, []string{}},
		"every address":               {`{otlp: {protocols: {http: {endpoint: "0.0.0.0:4318"}}}}`, []string{http}},
		"an empty endpoint":           {`{otlp: {protocols: {http: {endpoint: ""}}}}`, []string{http}},
		"a port alone":                {`{otlp: {protocols: {http: {endpoint: ":4318"}}}}`, []string{http}},
		"TLS without authenticator":   {`{otlp: {protocols: {http: {endpoint: "10.0.0.1:1", tls: {cert_file: x}}}}}`, []string{http}},
		"TLS and authenticator":       {`{otlp: {protocols: {http: {endpoint: "10.0.0.1:1", tls: {cert_file: x}, auth: {authenticator: a}}}}}`, []string{}},
		"in no pipeline":              {`{otlp/other: {protocols: {http: {endpoint: "0.0.0.0:4318"}}}}`, []string{}},
		"another receiver":            {`{tetragon: {protocols: {http: {endpoint: "0.0.0.0:4318"}}}}`, []string{}},
		"nothing":                     {`{}`, []string{}},
		"what is no map is no matter": {`{otlp: {protocols: [1]}}`, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			all := map[string]any{}
			require.NoError(t, yaml.Unmarshal([]byte("receivers: "+test.receivers+"\nservice: {pipelines: {logs: {receivers: [otlp, tetragon]}}}"), &all))
			assert.Equal(t, test.want, openOTLP(confmap.NewFromStringMap(all)))
		})
	}
}
