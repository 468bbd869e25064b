package canon

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemoryAsksForBothHashes(t *testing.T) {
	m := newMemory()
	e := m.of(ruleName, "clean")
	assert.False(t, e.known())
	e.remember()
	assert.True(t, m.of(ruleName, "clean").known())
	for name, other := range map[string]entry{
		"another rule":   m.of(ruleText, "clean"),
		"another text":   m.of(ruleName, "other"),
		"one hash alike": {e.slot, e.first, e.second + 1},
		"other alike":    {e.slot, e.first + 2, e.second},
	} {
		assert.False(t, other.known(), name)
	}
}
