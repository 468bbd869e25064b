package containment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// Weights say how much each control counts, 0..1. The zero Weights are not valid: start from DefaultWeights.
type Weights struct {
	// Privileges: a privileged container, or a capability that makes a process as good as root of the host.
	Privileges     float64 `mapstructure:"privileges"`
	HostNamespaces float64 `mapstructure:"host_namespaces"`
	// Root: root without a user namespace.
	Root            float64 `mapstructure:"root"`
	Seccomp         float64 `mapstructure:"seccomp"`
	NoNewPrivs      float64 `mapstructure:"no_new_privs"`
	RootFS          float64 `mapstructure:"root_fs"`
	LSM             float64 `mapstructure:"lsm"`
	SensitiveMounts float64 `mapstructure:"sensitive_mounts"`
}

// DefaultWeights are a judgement.
func DefaultWeights() Weights {
	return Weights{
		Privileges: 0.30, HostNamespaces: 0.20, Root: 0.15, Seccomp: 0.12, NoNewPrivs: 0.08, RootFS: 0.05, LSM: 0.05, SensitiveMounts: 0.05,
	}
}

// Validate demands weights from 0 to 1, one of them above 0. The errors name the field.
func (w *Weights) Validate() error {
	var errs []error
	sum := 0.0
	for i := range controls {
		weight := controls[i].weight(w)
		if !(weight >= 0 && weight <= 1) { // NaN is neither
			errs = append(errs, fmt.Errorf("%s: is not a number from 0 to 1", controls[i].name))
		}
		sum += weight
	}
	if len(errs) == 0 && sum == 0 {
		errs = append(errs, errors.New("all weights are 0"))
	}
	return errors.Join(errs...)
}

// AppendDocument appends the weights as RFC 8785 canonical JSON: one object from the names that they have in
// configurations to numbers as shortest decimal texts, and "model".
func (w *Weights) AppendDocument(b []byte) []byte {
	document := map[string]string{"model": Model}
	for i := range controls {
		document[controls[i].name] = strconv.FormatFloat(controls[i].weight(w), 'f', -1, 64)
	}
	// Plain ASCII in names and values: sorted keys and no spaces are all that is canonical about it.
	encoded, err := json.Marshal(document)
	if err != nil {
		return b // texts only
	}
	return append(b, encoded...)
}

// Digest identifies the weights: "sha256:" and the hex digest of AppendDocument.
func (w *Weights) Digest() string {
	digest := sha256.Sum256(w.AppendDocument(nil))
	return "sha256:" + hex.EncodeToString(digest[:])
}
