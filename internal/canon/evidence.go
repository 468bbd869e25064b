package canon

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/otelcol-witness/otelcol-witness/internal/privacy"
	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

var (
	goBuildID  = regexp.MustCompile(`^(?:[A-Za-z0-9_-]{20}(?:/[A-Za-z0-9_-]{20}){0,3}|redacted)$`)
	repository = regexp.MustCompile(`^[A-Za-z0-9._-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._-]+)*(?::[A-Za-z0-9._-]{1,128})?$`)
	purlType   = regexp.MustCompile(`^pkg:[A-Za-z][A-Za-z0-9.+-]{0,31}/[A-Za-z0-9._~%!$&'()*+,;=:@/?#-]+$`)
	recordUID  = regexp.MustCompile(`^[A-Za-z0-9._:@+=,#-]{1,256}$`)
)

// isEvidence reports whether text has the form that the attribute or frame key must have. Evidence is never changed.
func isEvidence(name, text string) bool {
	switch name {
	case semconv.FrameBuildID, semconv.ProcessExecutableBuildIDGNU:
		return isBuildID(text)
	case semconv.ProcessExecutableBuildIDGo:
		return goBuildID.MatchString(text) && privacy.IsClean(text)
	case semconv.ProcessExecutableBuildIDHtlhash:
		return isHex(text, 32)
	case semconv.FrameSHA256:
		return isHex(text, 64)
	case semconv.WitnessID:
		return isHex(text, 64) && strings.ToLower(text) == text
	case semconv.ArtifactHash:
		return isDigest(text)
	case semconv.ContainerImageRepoDigests:
		repo, digest, ok := strings.Cut(text, "@")
		if !ok {
			return isDigest(text)
		}
		return isDigest(digest) && len(repo) <= 512 && repository.MatchString(repo) && privacy.IsClean(repo)
	case semconv.VCSRefHeadRevision:
		return isRevision(text)
	case semconv.ArtifactPURL, semconv.WitnessComponentPURL, semconv.FrameComponent:
		return isPURL(text)
	case semconv.LogRecordUID:
		return privacy.IsPseudonym(text) || recordUID.MatchString(text) && privacy.Name(text) == text
	}
	return false
}

// isBuildID reports whether text is a GNU build-id: whole bytes in hex, and no address.
func isBuildID(text string) bool {
	return len(text) >= 8 && len(text) <= 128 && len(text)%2 == 0 && isHex(text, len(text)) && !isAddress(text)
}

// isAddress reports whether text, which is hex, is an address, in hex or in decimal.
func isAddress(text string) bool {
	return len(text) <= 20 && (privacy.IsAddressToken(text) || privacy.Addresses(text) != text)
}

// isDigest reports whether text is <algorithm>:<hex>.
func isDigest(text string) bool {
	algorithm, digits, _ := strings.Cut(text, ":")
	switch algorithm {
	case "sha256":
		return isHex(digits, 64)
	case "sha384":
		return isHex(digits, 96)
	case "sha512":
		return isHex(digits, 128)
	}
	return false
}

// isRevision reports whether text is the hash of a commit, perhaps with a mark that the tree was changed.
func isRevision(text string) bool {
	text = strings.TrimSuffix(strings.TrimSuffix(text, "+dirty"), "-dirty")
	return len(text) >= 7 && len(text) <= 64 && isHex(text, len(text)) && !isAddress(text)
}

// isPURL reports whether text is a package URL, without a secret in it.
func isPURL(text string) bool {
	if len(text) > maxValue || !purlType.MatchString(text) {
		return false
	}
	plain, err := url.PathUnescape(text)
	if err != nil || strings.HasPrefix(plain, "pkg:golang/_/") {
		return false
	}
	// Qualifiers hold URLs and file names. The address of a registry is part of what the purl names.
	_, qualifiers, _ := strings.Cut(plain, "?")
	return privacy.IsClean(plain) && privacy.Prose(qualifiers) == qualifiers
}

// isHex reports whether text is size hex digits.
func isHex(text string, size int) bool {
	if len(text) != size {
		return false
	}
	for _, c := range []byte(text) {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

// isFlag reports whether text is a word in lower case.
func isFlag(text string) bool {
	if text == "" || len(text) > 32 {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// isTerm reports whether text is the name of a language, or of a way to find symbols.
func isTerm(text string) bool {
	if text == "" || len(text) > 32 {
		return false
	}
	for _, c := range []byte(text) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("+#-_.", c) < 0 {
			return false
		}
	}
	return true
}
