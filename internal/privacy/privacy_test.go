package privacy

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	file, err := os.Open("testdata/cases.tsv")
	require.NoError(t, err)
	defer file.Close()
	scanner := bufio.NewScanner(file)
	scanner.Scan()
	for n := 2; scanner.Scan(); n++ {
		fields := strings.Split(scanner.Text(), "\t")
		input, err := strconv.Unquote(fields[1])
		require.NoError(t, err, "line %d", n)
		t.Run(fields[0]+" "+input, func(t *testing.T) {
			scrubbed := Text(input)
			if fields[0] == "keep" {
				assert.Equal(t, input, scrubbed)
				return
			}
			canary, err := strconv.Unquote(fields[2])
			require.NoError(t, err, "line %d", n)
			assert.Contains(t, input, canary)
			assert.NotContains(t, scrubbed, canary)
			assert.Equal(t, scrubbed, Text(scrubbed), "twice")
		})
	}
	require.NoError(t, scanner.Err())
}
