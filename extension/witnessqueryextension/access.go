package witnessqueryextension

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/client"
)

// RolesConfig says who may do what, by what the authenticator says of a caller. Write implies read, and admin both.
type RolesConfig struct {
	// Claim is the attribute of the authenticator that is looked at: membership, username, claims.scope... Empty without
	// roles.
	Claim string `mapstructure:"claim"`
	// Read, Write and Admin are the values that lend each role. A claim may be a list, or a text with spaces or commas;
	// what names somebody (subject, username, claims.email...) is one value, whatever is in it.
	Read  []string `mapstructure:"read"`
	Write []string `mapstructure:"write"`
	Admin []string `mapstructure:"admin"`
}

func (c *RolesConfig) validate(authenticated bool) error {
	lists := []struct {
		role   role
		values []string
	}{{roleRead, c.Read}, {roleWrite, c.Write}, {roleAdmin, c.Admin}}
	named := false
	for _, list := range lists {
		named = named || len(list.values) > 0
		for i, value := range list.values {
			if value == "" {
				return fmt.Errorf("roles::%s[%d]: is empty", list.role, i)
			}
		}
	}
	switch {
	case c.Claim == "" && !named:
		return nil
	case c.Claim == "":
		return errors.New("roles::claim: is empty")
	case !named:
		return errors.New("roles: none of read, write and admin has a value, so nobody could do anything")
	case !authenticated:
		return errors.New("roles: http::auth is needed: without an authenticator nobody has a claim")
	}
	return nil
}

// access decides what a caller may do. Its zero value is that of a listener that only this host can reach.
type access struct {
	roles         RolesConfig
	authenticated bool // an authenticator is configured
	open          bool // others than this host can reach the listener
}

// grant is the strongest role of a caller, or none:
//
//   - with roles, what the claim lends;
//   - without roles, an authenticated caller reads and writes;
//   - without an authenticator, callers on this host may do everything, and if others can reach the listener, all read
//     and write.
func (a *access) grant(ctx context.Context) role {
	auth := client.FromContext(ctx).Auth
	switch {
	case a.roles.Claim != "" && auth == nil:
		return ""
	case a.roles.Claim != "":
		return a.roles.of(auth.GetAttribute(a.roles.Claim))
	case a.authenticated || a.open:
		return roleWrite
	default:
		return roleAdmin
	}
}

// nameAttributes name somebody: those of authenticators, of OpenID Connect Core 5.1, and of Entra ID.
var nameAttributes = []string{
	"subject", "username", "claims.sub", "claims.name", "claims.given_name", "claims.family_name", "claims.middle_name",
	"claims.nickname", "claims.preferred_username", "claims.email", "claims.upn", "claims.unique_name",
}

// of is the strongest role that a claim lends.
func (c *RolesConfig) of(claim any) role {
	values := claimed(claim)
	if name, is := claim.(string); is && slices.Contains(nameAttributes, c.Claim) {
		values = []string{name} // people choose their names: "me admin" is not a list
	}
	for _, list := range []struct {
		role   role
		values []string
	}{{roleAdmin, c.Admin}, {roleWrite, c.Write}, {roleRead, c.Read}} {
		if slices.ContainsFunc(values, func(value string) bool { return slices.Contains(list.values, value) }) {
			return list.role
		}
	}
	return ""
}

// claimed are the values of a claim. Scopes of OAuth are one text with spaces. What is neither text nor a list of texts
// has no value.
func claimed(claim any) []string {
	switch claim := claim.(type) {
	case string:
		return strings.FieldsFunc(claim, func(r rune) bool { return r == ' ' || r == ',' })
	case []string:
		return claim
	case []any:
		var values []string
		for _, value := range claim {
			if text, ok := value.(string); ok {
				values = append(values, text)
			}
		}
		return values
	default:
		return nil
	}
}

// includes reports whether a caller with role r may do what needs another. No role includes nothing.
func (r role) includes(needed role) bool {
	order := []role{roleRead, roleWrite, roleAdmin}
	return slices.Index(order, r) >= slices.Index(order, needed)
}

// challenge is the WWW-Authenticate of a 401, by the type of the authenticator.
func challenge(authenticator string) string {
	if authenticator == "basicauth" {
		return `Basic realm="otelcol-witness", charset="UTF-8"`
	}
	return `Bearer realm="otelcol-witness"`
}
