package snapshot

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
)

// Names of what is signed: a DSSE envelope around an in-toto Statement.
const (
	// EnvelopeMediaType is that of an envelope.
	EnvelopeMediaType = "application/vnd.dsse.envelope.v1+json"
	payloadType       = "application/vnd.in-toto+json"
	statementType     = "https://in-toto.io/Statement/v1"
	// PredicateType is what a signature vouches for: that this signer made this snapshot.
	PredicateType = "https://github.com/otelcol-witness/otelcol-witness/attestation/signal-snapshot/v1"
)

// maxSubjects is how many artifacts a statement names, the first by digest.
const maxSubjects = 1000

// ErrSignature says that nobody vouches for a snapshot: the envelope is not one, is not signed with the key, or is about
// something else.
var ErrSignature = errors.New("the signature does not hold")

// Statement is what is signed, as RFC 8785 JSON.
type Statement struct {
	Type string `json:"_type"`
	// Subject is the snapshot first: its name is the snapshotId and its digest that of the bytes of the document, so that
	// sha256sum of the file shows it. Behind it are the artifacts that the evidence is from, by digest.
	Subject       []StatementSubject `json:"subject"`
	PredicateType string             `json:"predicateType"`
	Predicate     Predicate          `json:"predicate"`
}

// StatementSubject is something with a digest.
type StatementSubject struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// Predicate says in short what the snapshot says.
type Predicate struct {
	SnapshotID string `json:"snapshotId"`
	MediaType  string `json:"mediaType"`
	FindingID  string `json:"findingId"`
	AsOf       string `json:"asOf"`
	ScoreModel string `json:"scoreModel"`
	Score      string `json:"score"`
	Band       string `json:"band"`
	Coverage   string `json:"coverage"`
	Prev       string `json:"prev,omitempty"`
}

// Signer signs snapshots with one key.
type Signer struct {
	key      crypto.Signer
	id       string
	envelope *dsse.EnvelopeSigner
}

// NewSigner reads a private key: PKCS #8 in PEM, Ed25519 or ECDSA on P-256, P-384 or P-521. Its errors repeat nothing of
// it.
func NewSigner(privateKey []byte) (*Signer, error) {
	block, _ := pem.Decode(privateKey)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("is no PKCS #8 private key in PEM (BEGIN PRIVATE KEY)")
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is no PKCS #8 private key that can be read") // the error could hold parts of the key
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errKeyType
	}
	s := &Signer{key: key}
	if s.id, err = KeyID(key.Public()); err != nil {
		return nil, err
	}
	s.envelope, err = dsse.NewEnvelopeSigner(s)
	return s, err
}

var errKeyType = errors.New("is not an Ed25519 or ECDSA P-256, P-384 or P-521 key")

// KeyID is the sha256 of the public key (PKIX, DER), in hex: the keyid of its signatures.
func KeyID(public crypto.PublicKey) (string, error) {
	if _, err := hashOf(public); err != nil {
		return "", err
	}
	encoded, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "", errKeyType
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:]), nil
}

// hashOf is what a key's signatures are over: the message itself for Ed25519, and a hash as strong as the curve for
// ECDSA.
func hashOf(public crypto.PublicKey) (crypto.Hash, error) {
	switch public := public.(type) {
	case ed25519.PublicKey:
		if len(public) == ed25519.PublicKeySize { // of another length it could not be asked
			return 0, nil
		}
	case *ecdsa.PublicKey:
		switch public.Curve {
		case elliptic.P256():
			return crypto.SHA256, nil
		case elliptic.P384():
			return crypto.SHA384, nil
		case elliptic.P521():
			return crypto.SHA512, nil
		}
	}
	return 0, errKeyType
}

// KeyID implements dsse.Signer.
func (s *Signer) KeyID() (string, error) { return s.id, nil }

// Sign implements dsse.Signer. ECDSA is deterministic (RFC 6979), so the same snapshot has the same envelope.
func (s *Signer) Sign(_ context.Context, data []byte) ([]byte, error) {
	hash, err := hashOf(s.key.Public())
	if err != nil {
		return nil, err
	}
	return s.key.Sign(nil, sum(hash, data), hash)
}

func sum(hash crypto.Hash, data []byte) []byte {
	if hash == 0 {
		return data
	}
	h := hash.New()
	h.Write(data)
	return h.Sum(nil)
}

// Envelope signs a snapshot.
func (s *Signer) Envelope(ctx context.Context, built *Built) ([]byte, error) {
	d, err := Parse(built.Document)
	if err != nil {
		return nil, err
	}
	statement := Statement{
		Type: statementType, Subject: []StatementSubject{subject(d.SnapshotID, Digest(built.Document))},
		PredicateType: PredicateType, Predicate: predicateOf(d),
	}
	for _, digest := range built.Artifacts[:min(len(built.Artifacts), maxSubjects)] {
		statement.Subject = append(statement.Subject, subject(digest, digest))
	}
	payload, err := encode(&statement)
	if err != nil {
		return nil, err
	}
	envelope, err := s.envelope.SignPayload(ctx, payloadType, payload)
	if err != nil {
		return nil, err
	}
	return encode(envelope)
}

func subject(name, digest string) StatementSubject {
	return StatementSubject{name, map[string]string{"sha256": strings.TrimPrefix(digest, "sha256:")}}
}

func predicateOf(d *Document) Predicate {
	return Predicate{
		SnapshotID: d.SnapshotID, MediaType: MediaType, FindingID: d.FindingID, AsOf: d.AsOf, ScoreModel: d.Config.ScoreModel,
		Score: d.Result.Score, Band: d.Result.Band, Coverage: d.Result.Coverage, Prev: d.Prev,
	}
}

// VerifyEnvelope checks that the holder of the key signed exactly this document, and returns the statement. public is an
// Ed25519 or ECDSA key, as ParsePublicKey reads it. Its errors wrap ErrSignature, or ErrDocument for the document.
func VerifyEnvelope(ctx context.Context, envelope, document []byte, public crypto.PublicKey) (*Statement, error) {
	d, err := Parse(document)
	if err != nil {
		return nil, err
	}
	var e dsse.Envelope
	if len(envelope) > MaxDocument || decode(envelope, &e) != nil || e.PayloadType != payloadType || !strict(&e) {
		return nil, fmt.Errorf("%w: it is no DSSE envelope of an in-toto statement", ErrSignature)
	}
	id, err := KeyID(public)
	if err != nil {
		return nil, fmt.Errorf("%w: the key %w", ErrSignature, err)
	}
	verifier, err := dsse.NewEnvelopeVerifier(&verifier{public, id})
	if err != nil {
		return nil, err
	}
	_, payload, err := verifier.VerifyAndDecode(ctx, &e)
	if err != nil {
		return nil, fmt.Errorf("%w: no signature is of this key", ErrSignature)
	}
	var statement Statement
	if decode(payload, &statement) != nil || statement.Type != statementType || statement.PredicateType != PredicateType || len(statement.Subject) == 0 {
		return nil, fmt.Errorf("%w: what is signed is no statement on a snapshot", ErrSignature)
	}
	if want := subject(d.SnapshotID, Digest(document)); statement.Subject[0].Name != want.Name ||
		statement.Subject[0].Digest["sha256"] != want.Digest["sha256"] || statement.Predicate != predicateOf(d) {
		return nil, fmt.Errorf("%w: what is signed is another snapshot", ErrSignature)
	}
	return &statement, nil
}

// strict reports whether base64 is as it must be: what only looks alike is another text.
func strict(e *dsse.Envelope) bool {
	_, err := base64.StdEncoding.Strict().DecodeString(e.Payload)
	for _, signature := range e.Signatures {
		_, other := base64.StdEncoding.Strict().DecodeString(signature.Sig)
		err = errors.Join(err, other)
	}
	return err == nil
}

// ParsePublicKey reads a public key: PKIX in PEM (BEGIN PUBLIC KEY).
func ParsePublicKey(encoded []byte) (crypto.PublicKey, error) {
	block, _ := pem.Decode(encoded)
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, errors.New("is no public key in PEM (BEGIN PUBLIC KEY)")
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, errors.New("is no public key that can be read")
	}
	if _, err := hashOf(public); err != nil {
		return nil, err
	}
	return public, nil
}

// verifier checks signatures of one key.
type verifier struct {
	public crypto.PublicKey
	id     string
}

var _ dsse.Verifier = (*verifier)(nil)

// KeyID implements dsse.Verifier.
func (v *verifier) KeyID() (string, error) { return v.id, nil }

// Public implements dsse.Verifier.
func (v *verifier) Public() crypto.PublicKey { return v.public }

// Verify implements dsse.Verifier.
func (v *verifier) Verify(_ context.Context, data, sig []byte) error {
	hash, err := hashOf(v.public)
	if err != nil {
		return err
	}
	holds := false
	switch public := v.public.(type) {
	case ed25519.PublicKey:
		holds = ed25519.Verify(public, data, sig)
	case *ecdsa.PublicKey:
		holds = ecdsa.VerifyASN1(public, sum(hash, data), sig)
	}
	if !holds {
		return ErrSignature
	}
	return nil
}
