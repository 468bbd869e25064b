package sqlite

import "github.com/otelcol-witness/otelcol-witness/internal/finding"

// names and fold are how components and artifacts are found: as findings name them.

func names(purl string) []string { return finding.PURLNames(purl) }

func fold(purl string) string { return finding.FoldPURL(purl) }
