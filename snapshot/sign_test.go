package snapshot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func privatePEM(t testing.TB, key any) []byte {
	t.Helper()
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encoded})
}

func publicPEM(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	encoded, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: encoded})
}

func keys(t testing.TB) map[string]crypto.Signer {
	all := map[string]crypto.Signer{}
	_, all["Ed25519"], _ = ed25519.GenerateKey(rand.Reader)
	for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		require.NoError(t, err)
		all[curve.Params().Name] = key
	}
	return all
}

func TestSignAndVerify(t *testing.T) {
	built := build(t, full(), "")
	other := build(t, full(), built.ID)
	all := keys(t)
	for name, key := range all {
		t.Run(name, func(t *testing.T) {
			signer, err := NewSigner(privatePEM(t, key))
			require.NoError(t, err)
			envelope, err := signer.Envelope(t.Context(), built)
			require.NoError(t, err)
			again, err := signer.Envelope(t.Context(), built)
			require.NoError(t, err)
			assert.Equal(t, string(envelope), string(again), "the same snapshot has the same signature")
			public, err := ParsePublicKey(publicPEM(t, key))
			require.NoError(t, err)
			id, err := KeyID(public)
			require.NoError(t, err)
			assert.Contains(t, string(envelope), `"keyid":"`+id+`"`)

			statement, err := VerifyEnvelope(t.Context(), envelope, built.Document, public)
			require.NoError(t, err)
			assert.Equal(t, StatementSubject{built.ID, map[string]string{"sha256": Digest(built.Document)[7:]}}, statement.Subject[0])
			assert.Equal(t, StatementSubject{built.Artifacts[0], map[string]string{"sha256": built.Artifacts[0][7:]}}, statement.Subject[1])
			assert.Equal(t, "witnessed", statement.Predicate.Band)

			_, err = VerifyEnvelope(t.Context(), envelope, other.Document, public)
			require.ErrorIs(t, err, ErrSignature, "another snapshot")
			for at := range envelope { // of what is slow, some
				if at%17 != 0 && name != "Ed25519" {
					continue
				}
				tampered := []byte(strings.Clone(string(envelope)))
				tampered[at] ^= 1
				_, err := VerifyEnvelope(t.Context(), tampered, built.Document, public)
				require.ErrorIs(t, err, ErrSignature, "byte %d", at)
			}
			for otherName, other := range all {
				if otherName != name {
					_, err = VerifyEnvelope(t.Context(), envelope, built.Document, other.Public())
					require.ErrorIs(t, err, ErrSignature, "the key of another")
				}
			}
			tampered := []byte(strings.Replace(string(built.Document), "witnessed", "unlikely!", 1))
			_, err = VerifyEnvelope(t.Context(), envelope, tampered, public)
			require.ErrorIs(t, err, ErrDocument)
		})
	}
}

func TestKeysThatAreNone(t *testing.T) {
	strong, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	unusual, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	for name, encoded := range map[string][]byte{
		"nothing":         nil,
		"text":            []byte("s3cret"),
		"RSA":             privatePEM(t, strong),
		"P-224":           privatePEM(t, unusual),
		"damaged":         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("s3cret")}),
		"encrypted":       pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("s3cret")}),
		"of another form": pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("s3cret")}),
	} {
		_, err := NewSigner(encoded)
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "s3cret")
	}
	for name, encoded := range map[string][]byte{
		"nothing": nil,
		"damaged": pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}),
		"RSA":     publicPEM(t, strong),
		"private": privatePEM(t, strong),
	} {
		_, err := ParsePublicKey(encoded)
		require.Error(t, err, name)
	}
	_, err = VerifyEnvelope(t.Context(), nil, build(t, full(), "").Document, strong.Public())
	require.ErrorIs(t, err, ErrSignature)
	_, err = KeyID(ed25519.PublicKey("too short"))
	require.Error(t, err, "nothing could be verified with it")
}
