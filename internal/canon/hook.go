package canon

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
)

// HookArgument names an argument of a hook of a tracing policy that may leave, as tetragon.args has it: index:type=value.
type HookArgument struct {
	// Policy is the name of the tracing policy.
	Policy string `mapstructure:"policy"`
	// Index is the place in the policy's args, data0, data1 ... that in its data, or return.
	Index string `mapstructure:"index"`
	// Type is Tetragon's name of the type of the value, as string_arg: an argument that has another one is dropped.
	Type string `mapstructure:"type"`
}

var (
	hookIndex = regexp.MustCompile(`^(?:(?:data)?[0-9]{1,2}|return)$`)
	hookType  = regexp.MustCompile(`^[a-z0-9_]{1,64}$`)
)

func (h *HookArgument) validate() (err error) {
	if h.Policy == "" || len(h.Policy) > maxName || privacy.Name(h.Policy) != h.Policy {
		err = errors.Join(err, fmt.Errorf("policy: is not a name of 1 to %d bytes", maxName))
	}
	if !hookIndex.MatchString(h.Index) {
		err = errors.Join(err, errors.New("index: is not a number, data and a number, or return"))
	}
	if !hookType.MatchString(h.Type) {
		err = errors.Join(err, errors.New("type: is not a name as string_arg"))
	}
	return err
}

// hookArgument scrubs an argument of a hook that is allowed; false drops it.
func (w *work) hookArgument(text string) (string, bool) {
	index, rest, _ := strings.Cut(text, ":")
	kind, value, ok := strings.Cut(rest, "=")
	if !ok || !w.c.hooks[HookArgument{w.policy, index, kind}] {
		return "", false
	}
	return index + ":" + kind + "=" + w.scrub(value), true
}
