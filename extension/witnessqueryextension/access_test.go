package witnessqueryextension

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/oidcauthextension"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/client"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configauth"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otelcol-witness/otelcol-witness/extension/witnessqueryextension/internal/metadatatest"
	"github.com/otelcol-witness/otelcol-witness/storage"
	"github.com/otelcol-witness/otelcol-witness/storage/none"
	"github.com/otelcol-witness/otelcol-witness/storage/sqlite"
	"github.com/otelcol-witness/otelcol-witness/witness"
)

func TestRolesOfClaims(t *testing.T) {
	roles := RolesConfig{Claim: "claims.scope", Read: []string{"r", "security team"}, Write: []string{"w"}, Admin: []string{"a"}}
	for _, test := range []struct {
		name  string
		claim any
		want  role
	}{
		{"none", nil, ""},
		{"empty", "", ""},
		{"another", "x", ""},
		{"a part of one", "rw", ""},
		{"one", "r", roleRead},
		{"the strongest", "r w x", roleWrite},
		{"commas", "r,a", roleAdmin},
		{"texts", []string{"x", "w"}, roleWrite},
		{"a text with a space", []string{"security team"}, roleRead},
		{"values", []any{7, "a", nil}, roleAdmin},
		{"no texts", []any{7, true}, ""},
		{"a number", 7, ""},
		{"an object", map[string]any{"r": true}, ""},
	} {
		t.Run(test.name, func(t *testing.T) { assert.Equal(t, test.want, roles.of(test.claim)) })
	}
	for _, name := range []string{"subject", "username", "claims.preferred_username", "claims.email"} {
		roles.Claim = name
		assert.Equal(t, role(""), roles.of("ann a"), "a name is no list")
		assert.Equal(t, roleAdmin, roles.of("a"))
	}
}

func TestGrants(t *testing.T) {
	anonymous := context.Background()
	ann := client.NewContext(anonymous, client.Info{Auth: principal{"subject": "ann", "groups": "r"}})
	roles := RolesConfig{Claim: "groups", Read: []string{"r"}}
	for _, test := range []struct {
		name   string
		access access
		ctx    context.Context
		want   role
	}{
		{"this host", access{}, anonymous, roleAdmin},
		{"allow_insecure", access{open: true}, anonymous, roleWrite},
		{"authenticated", access{authenticated: true}, ann, roleWrite},
		{"authenticated, for others", access{authenticated: true, open: true}, ann, roleWrite},
		{"roles", access{authenticated: true, roles: roles}, ann, roleRead},
		{"roles and no attributes", access{authenticated: true, roles: roles}, anonymous, ""},
	} {
		t.Run(test.name, func(t *testing.T) { assert.Equal(t, test.want, test.access.grant(test.ctx)) })
	}
	for i, have := range []role{"", roleRead, roleWrite, roleAdmin} {
		for j, needed := range []role{roleRead, roleWrite, roleAdmin} {
			assert.Equal(t, i > j, have.includes(needed), "%s for %s", have, needed)
		}
	}
}

// Every route refuses each weaker role, without saying which one the caller has, and before it looks at the request.
func TestEveryRouteNeedsItsRole(t *testing.T) {
	s := newServer(t, none.Storage{})
	s.api.access = access{authenticated: true, roles: RolesConfig{Claim: "subject", Read: []string{"r"}, Write: []string{"w"}, Admin: []string{"a"}}}
	denied := map[role]int64{}
	for _, route := range routes {
		for _, caller := range []struct {
			name string
			role role
		}{{"nobody", ""}, {"r", roleRead}, {"w", roleWrite}, {"a", roleAdmin}} {
			w := s.send(as(httptest.NewRequest(route.method, fill(route.template)+"?secret=1", nil), "", caller.name))
			if caller.role.includes(route.role) {
				assert.NotEqual(t, http.StatusForbidden, w.Code, "%s %s %s", caller.name, route.method, route.template)
				continue
			}
			denied[route.role]++
			assert.Equal(t, http.StatusForbidden, w.Code, "%s %s %s", caller.name, route.method, route.template)
			assert.Equal(t, "the caller may not do this", detail(t, w))
		}
	}
	points, err := s.telemetry.GetMetric("otelcol_witness_query_denied_requests")
	require.NoError(t, err)
	got := map[role]int64{}
	for _, point := range points.Data.(metricdata.Sum[int64]).DataPoints {
		needed, _ := point.Attributes.Value("role")
		got[role(needed.AsString())] = point.Value
	}
	assert.Equal(t, denied, got)
}

// fill puts something valid into the parameters of a path.
func fill(template string) string {
	for name, value := range map[string]string{
		"{findingId}": "GO-2023-1988", "{importId}": "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "{sha256}": strings.Repeat("ab", 32), "{digest}": strings.Repeat("cd", 32),
	} {
		template = strings.ReplaceAll(template, name, value)
	}
	return template
}

// issuer is an OpenID provider: discovery, keys, and tokens that it signs.
type issuer struct {
	*httptest.Server
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	i := &issuer{key: key}
	mux := http.NewServeMux()
	encode := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		encode(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "authorization_endpoint": i.URL + "/auth", "token_endpoint": i.URL + "/token",
			"id_token_signing_alg_values_supported": []string{"RS256"}, "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		encode(w, map[string]any{"keys": []any{map[string]string{
			"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	i.Server = httptest.NewServer(mux)
	t.Cleanup(i.Close)
	return i
}

// token is a token for the audience witness; claims add to it.
func (i *issuer) token(t *testing.T, claims map[string]any) string {
	all := map[string]any{"iss": i.URL, "aud": "witness", "sub": "ann", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, value := range claims {
		all[name] = value
	}
	payload, err := json.Marshal(all)
	require.NoError(t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"1","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	digest := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, i.key, crypto.SHA256, digest[:])
	require.NoError(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// startAuthenticator starts a real extension.
func startAuthenticator(t *testing.T, factory extension.Factory, settings map[string]any) (component.ID, component.Component) {
	config := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(settings).Unmarshal(config))
	require.NoError(t, confmap.Validate(config))
	authenticator, err := factory.Create(t.Context(), extensiontest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	require.NoError(t, authenticator.Start(t.Context(), host{}))
	t.Cleanup(func() { require.NoError(t, authenticator.Shutdown(context.Background())) })
	return component.NewID(factory.Type()), authenticator
}

// status is what a request with an Authorization header is answered with.
func status(t *testing.T, method, url, body, authorization string) int {
	t.Helper()
	r, err := http.NewRequest(method, url, strings.NewReader(body))
	require.NoError(t, err)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	r.Header.Set("Content-Type", "application/json")
	code, header, text := do(t, r, err)
	if code == http.StatusUnauthorized {
		assert.NotEmpty(t, header.Get("WWW-Authenticate"))
	}
	if code >= 400 {
		assert.Equal(t, "application/problem+json", header.Get("Content-Type"), text)
	}
	return code
}

// access is what a caller gets for a read, a write and the work of an admin.
func rights(t *testing.T, base, authorization string) [3]int {
	t.Helper()
	return [3]int{
		status(t, http.MethodGet, base+"/api/v1/findings", "", authorization),
		status(t, http.MethodPut, base+"/api/v1/findings/x", `{}`, authorization),
		status(t, http.MethodPost, base+backupPath, "", authorization),
	}
}

func TestOIDC(t *testing.T) {
	i := newIssuer(t)
	id, authenticator := startAuthenticator(t, oidcauthextension.NewFactory(), map[string]any{
		"providers": []any{map[string]any{"issuer_url": i.URL, "audience": "witness"}},
	})
	with := func(roles RolesConfig) string {
		config := local()
		config.HTTP.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: id}})
		config.Roles = roles
		require.NoError(t, confmap.Validate(config))
		return start(t, config, host{storageID: storageExtension{store: copier{}}, id: authenticator})
	}
	bearer := func(claims map[string]any) string { return "Bearer " + i.token(t, claims) }
	nothing := [3]int{http.StatusUnauthorized, http.StatusUnauthorized, http.StatusUnauthorized}
	denied := [3]int{http.StatusForbidden, http.StatusForbidden, http.StatusForbidden}
	reads := [3]int{http.StatusOK, http.StatusForbidden, http.StatusForbidden}
	writes := [3]int{http.StatusOK, http.StatusCreated, http.StatusForbidden}
	all := [3]int{http.StatusOK, http.StatusCreated, http.StatusCreated}

	t.Run("scopes", func(t *testing.T) {
		base := with(RolesConfig{Claim: "claims.scope", Read: []string{"witness.read"}, Write: []string{"witness.write"}, Admin: []string{"witness.admin"}})
		assert.Equal(t, reads, rights(t, base, bearer(map[string]any{"scope": "openid witness.read"})))
		assert.Equal(t, writes, rights(t, base, bearer(map[string]any{"scope": "witness.write"})))
		assert.Equal(t, all, rights(t, base, bearer(map[string]any{"scope": "witness.admin"})))
		assert.Equal(t, denied, rights(t, base, bearer(map[string]any{"scope": "openid"})))
		assert.Equal(t, denied, rights(t, base, bearer(nil)))
		assert.Equal(t, nothing, rights(t, base, ""))
		assert.Equal(t, nothing, rights(t, base, "Bearer x.y.z"))
		assert.Equal(t, nothing, rights(t, base, bearer(map[string]any{"scope": "witness.admin", "exp": time.Now().Add(-time.Hour).Unix()})))
		assert.Equal(t, nothing, rights(t, base, bearer(map[string]any{"scope": "witness.admin", "aud": "another"})))
		other := newIssuer(t)
		other.URL = i.URL
		assert.Equal(t, nothing, rights(t, base, "Bearer "+other.token(t, map[string]any{"scope": "witness.admin"})), "signed with another key")
	})
	t.Run("groups", func(t *testing.T) {
		base := with(RolesConfig{Claim: "claims.groups", Write: []string{"scanners"}, Admin: []string{"platform"}})
		assert.Equal(t, writes, rights(t, base, bearer(map[string]any{"groups": []string{"all", "scanners"}})))
		assert.Equal(t, all, rights(t, base, bearer(map[string]any{"groups": []string{"platform"}})))
		assert.Equal(t, denied, rights(t, base, bearer(map[string]any{"groups": []string{"all"}})))
	})
	t.Run("tenants", func(t *testing.T) {
		store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "witness.db")})
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, store.Close()) })
		config := local()
		config.HTTP.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: id}})
		base := start(t, config, host{storageID: storageExtension{store: store}, id: authenticator})
		red, blue := bearer(map[string]any{"tenant": "red"}), bearer(map[string]any{"tenant": "blue"})
		assert.Equal(t, http.StatusCreated, status(t, http.MethodPut, base+"/api/v1/findings/x", `{}`, red))
		assert.Equal(t, http.StatusOK, status(t, http.MethodGet, base+"/api/v1/findings/x", "", red))
		assert.Equal(t, http.StatusNotFound, status(t, http.MethodGet, base+"/api/v1/findings/x", "", blue))
		assert.Equal(t, http.StatusNotFound, status(t, http.MethodGet, base+"/api/v1/findings/x", "", bearer(nil)))
	})
	t.Run("without roles", func(t *testing.T) {
		base := with(RolesConfig{})
		assert.Equal(t, writes, rights(t, base, bearer(nil)))
		assert.Equal(t, nothing, rights(t, base, ""))
	})
}

func TestBasicAuth(t *testing.T) {
	id, authenticator := startAuthenticator(t, basicauthextension.NewFactory(), map[string]any{
		"htpasswd": map[string]any{"inline": "ann:secret\nbob:secret\n"},
	})
	config := local()
	config.HTTP.Auth = configoptional.Some(confighttp.AuthConfig{Config: configauth.Config{AuthenticatorID: id}})
	config.Roles = RolesConfig{Claim: "username", Read: []string{"ann"}, Admin: []string{"bob"}}
	base := start(t, config, host{storageID: storageExtension{store: copier{}}, id: authenticator})
	basic := func(name, password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(name+":"+password))
	}
	assert.Equal(t, [3]int{200, 403, 403}, rights(t, base, basic("ann", "secret")))
	assert.Equal(t, [3]int{200, 201, 201}, rights(t, base, basic("bob", "secret")))
	assert.Equal(t, [3]int{401, 401, 401}, rights(t, base, basic("bob", "guess")))

	r, err := http.NewRequest(http.MethodGet, base+"/api/v1/findings", nil)
	_, header, _ := do(t, r, err)
	assert.Equal(t, `Basic realm="otelcol-witness", charset="UTF-8"`, header.Get("WWW-Authenticate"))
}

func TestRateLimit(t *testing.T) {
	s := newServer(t, none.Storage{})
	now := time.Now()
	s.api.now = func() time.Time { return now }
	var err error
	s.api.limits, err = newLimits(RateLimitConfig{RequestsPerSecond: 0.5, Burst: 2}, 0)
	require.NoError(t, err)
	ask := func(tenant, name string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/api/v1/findings", nil)
		if name != "" {
			r = as(r, tenant, name)
		}
		return s.send(r)
	}
	assert.Equal(t, 200, ask("red", "ann").Code)
	assert.Equal(t, 200, ask("red", "ann").Code)
	w := ask("red", "ann")
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "2", w.Header().Get("Retry-After"))
	assert.Contains(t, detail(t, w), "more often")
	assert.Equal(t, 200, ask("blue", "ann").Code, "another tenant's")
	assert.Equal(t, 200, ask("red", "bob").Code, "another")
	now = now.Add(2 * time.Second)
	assert.Equal(t, 200, ask("red", "ann").Code, "what was refused has cost nothing")
	assert.Equal(t, 429, ask("red", "ann").Code)
	assert.Equal(t, []int{200, 200, 429}, []int{ask("", "").Code, ask("", "").Code, ask("", "").Code}, "all who are not authenticated are one")
	metadatatest.AssertEqualWitnessQueryLimitedRequests(t, s.telemetry, []metricdata.DataPoint[int64]{{Value: 3, Attributes: attribute.NewSet(attribute.String("limit", "rate"))}},
		metricdatatest.IgnoreTimestamp())
}

func TestRatesAreBounded(t *testing.T) {
	l, err := newLimits(RateLimitConfig{RequestsPerSecond: 1, Burst: 1}, 0)
	require.NoError(t, err)
	now := time.Now()
	for i := range maxPrincipals + 100 {
		assert.Zero(t, l.wait(storage.Principal{Name: fmt.Sprint(i)}, now))
	}
	assert.Equal(t, maxPrincipals, l.limiters.Len())
	assert.Positive(t, l.wait(storage.Principal{Name: fmt.Sprint(maxPrincipals + 99)}, now))
	assert.Zero(t, l.wait(storage.Principal{Name: "0"}, now), "forgotten")
}

func TestConcurrency(t *testing.T) {
	store := slow{asked: make(chan struct{}), answer: make(chan struct{})}
	s := newServer(t, store)
	var err error
	s.api.limits, err = newLimits(RateLimitConfig{}, 1)
	require.NoError(t, err)
	first := make(chan int, 1)
	go func() { first <- s.call(http.MethodGet, "/api/v1/findings", "").Code }()
	<-store.asked
	w := s.call(http.MethodGet, "/api/v1/openapi.json", "")
	assert.Equal(t, http.StatusTooManyRequests, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	close(store.answer)
	assert.Equal(t, http.StatusOK, <-first)
	assert.Equal(t, http.StatusOK, s.call(http.MethodGet, "/api/v1/openapi.json", "").Code)
}

// Who is authenticated leaves some of the requests that are answered at once to others.
func TestNobodyTakesAllSlots(t *testing.T) {
	ann, bob := storage.Principal{Tenant: "red", Name: "ann"}, storage.Principal{Tenant: "blue", Name: "ann"}
	l, err := newLimits(RateLimitConfig{}, 8)
	require.NoError(t, err)
	for range 6 {
		assert.True(t, l.enter(ann, true))
	}
	assert.False(t, l.enter(ann, true))
	assert.True(t, l.enter(bob, true))
	assert.True(t, l.enter(bob, true))
	assert.False(t, l.enter(bob, true), "all are taken")
	l.leave(ann, true)
	assert.True(t, l.enter(bob, true))
	for range 3 {
		l.leave(bob, true)
	}
	for range 5 {
		l.leave(ann, true)
	}
	assert.Empty(t, l.answered, "who asks for nothing is forgotten")
	for range 8 {
		assert.True(t, l.enter(storage.Principal{}, false), "all who are not authenticated are one")
	}
	assert.False(t, l.enter(storage.Principal{}, false))
}

// holding is a storage that has who puts a finding wait.
type holding struct {
	none.Storage
	asked, answer chan struct{}
}

func (h holding) PutFinding(context.Context, storage.Principal, witness.Finding) (bool, error) {
	h.asked <- struct{}{}
	<-h.answer
	return true, nil
}

// Bodies are counted as they come, and until they are answered.
func TestBodiesAreBoundedTogether(t *testing.T) {
	store := holding{asked: make(chan struct{}), answer: make(chan struct{})}
	s := newServer(t, store)
	limits, err := newLimits(RateLimitConfig{}, 0)
	require.NoError(t, err)
	assert.EqualValues(t, maxBodies, limits.bodies)
	limits.bodies = 1000
	s.api.limits = limits
	put := func(name string, length int) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPut, "/api/v1/findings/x", strings.NewReader(`{"title":"`+strings.Repeat("x", length-len(`{"title":""}`))+`"}`))
		r.Header.Set("Content-Type", "application/json")
		if name != "" {
			r = as(r, "", name)
		}
		return s.send(r)
	}
	first := make(chan int, 1)
	go func() { first <- put("ann", 700).Code }()
	<-store.asked
	w := put("ann", 100)
	assert.Equal(t, http.StatusTooManyRequests, w.Code, "a quarter is for others")
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.Equal(t, http.StatusTooManyRequests, put("", 400).Code)
	points, err := s.telemetry.GetMetric("otelcol_witness_query_limited_requests")
	require.NoError(t, err)
	limit, _ := points.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes.Value("limit")
	assert.Equal(t, "bodies", limit.AsString())
	second := make(chan int, 1)
	go func() { second <- put("bob", 300).Code }()
	<-store.asked
	close(store.answer)
	assert.Equal(t, http.StatusCreated, <-first)
	assert.Equal(t, http.StatusCreated, <-second)
	go func() { <-store.asked }()
	assert.Equal(t, http.StatusCreated, put("", 1000).Code, "nothing is held any more")
	assert.Zero(t, limits.held)
	assert.Empty(t, limits.heldOf)
}
