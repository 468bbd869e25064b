package semconv

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
)

// Validate checks logs against the model: names, places and types of attributes, enumerations, the keys of frames, and
// that each record is a known event with all its attributes. Each error says where and which attribute, never its value.
func Validate(logs plog.Logs) []error {
	var errs []error
	for i := range logs.ResourceLogs().Len() {
		resource := logs.ResourceLogs().At(i)
		where := fmt.Sprintf("resource %d", i)
		errs = appendMap(errs, where, resource.Resource().Attributes(), func(a Attribute) bool { return a.OnResource })
		for j := range resource.ScopeLogs().Len() {
			scope := resource.ScopeLogs().At(j)
			where := fmt.Sprintf("%s scope %d", where, j)
			errs = appendMap(errs, where, scope.Scope().Attributes(), func(a Attribute) bool { return a.OnScope })
			for k := range scope.LogRecords().Len() {
				errs = appendRecord(errs, fmt.Sprintf("%s record %d", where, k), scope.LogRecords().At(k))
			}
		}
	}
	return errs
}

func appendRecord(errs []error, where string, record plog.LogRecord) []error {
	event, ok := LookupEvent(record.EventName())
	if !ok {
		errs = append(errs, fmt.Errorf("%s: event name is not one of the model", where))
	} else {
		where += " (" + event.Name + ")"
		for _, name := range event.Required {
			if _, ok := record.Attributes().Get(name); !ok {
				errs = append(errs, fmt.Errorf("%s: %s: is missing", where, name))
			}
		}
	}
	if record.Timestamp() == 0 && record.ObservedTimestamp() == 0 {
		errs = append(errs, fmt.Errorf("%s: has no time", where))
	}
	if body := record.Body().Type(); body != pcommon.ValueTypeEmpty && body != pcommon.ValueTypeStr {
		errs = append(errs, fmt.Errorf("%s: body: is not text", where))
	}
	return appendMap(errs, where, record.Attributes(), func(a Attribute) bool { return a.OnRecord })
}

func appendMap(errs []error, where string, attributes pcommon.Map, here func(Attribute) bool) []error {
	seen := make(map[string]struct{}, attributes.Len())
	for name, value := range attributes.All() {
		if _, ok := seen[name]; ok {
			errs = append(errs, fmt.Errorf("%s: %s: is there twice", where, name))
		}
		seen[name] = struct{}{}
		attribute, ok := LookupAttribute(name)
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s: %s: is not in the model", where, name))
		case !here(attribute):
			errs = append(errs, fmt.Errorf("%s: %s: does not belong here", where, name))
		default:
			errs = appendValue(errs, where+": "+name, attribute, value)
		}
	}
	return errs
}

func appendValue(errs []error, where string, attribute Attribute, value pcommon.Value) []error {
	wrong := func(what string) []error { return append(errs, fmt.Errorf("%s: is not %s", where, what)) }
	switch attribute.Type {
	case "string", "time", "hex":
		if value.Type() != pcommon.ValueTypeStr {
			return wrong("a string")
		}
		switch {
		case attribute.Type == "time" && !isTime(value.Str()):
			return wrong("an RFC 3339 time in UTC")
		case attribute.Type == "hex" && !isHex(value.Str()):
			return wrong("0x and 1 to 16 hex digits")
		case !allowed(attribute, value.Str()):
			return wrong("one of the values of the model")
		}
	case "int":
		if value.Type() != pcommon.ValueTypeInt {
			return wrong("an int")
		}
	case "double":
		if value.Type() != pcommon.ValueTypeDouble || math.IsNaN(value.Double()) || math.IsInf(value.Double(), 0) {
			return wrong("a finite double")
		}
	case "bool":
		if value.Type() != pcommon.ValueTypeBool {
			return wrong("a bool")
		}
	case "string[]":
		if value.Type() != pcommon.ValueTypeSlice {
			return wrong("a slice of strings")
		}
		for i := range value.Slice().Len() {
			element := value.Slice().At(i)
			if element.Type() != pcommon.ValueTypeStr {
				return wrong("a slice of strings")
			}
			if !allowed(attribute, element.Str()) {
				return wrong("made of values of the model")
			}
		}
	case "map[]":
		if value.Type() != pcommon.ValueTypeSlice {
			return wrong("a slice of maps")
		}
		for i := range value.Slice().Len() {
			errs = appendFrame(errs, where+"["+strconv.Itoa(i)+"]", value.Slice().At(i))
		}
	}
	return errs
}

func appendFrame(errs []error, where string, value pcommon.Value) []error {
	if value.Type() != pcommon.ValueTypeMap {
		return append(errs, fmt.Errorf("%s: is not a map", where))
	}
	for name, member := range value.Map().All() {
		key, ok := LookupFrame(name)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %s: is not a key of a frame", where, name))
			continue
		}
		errs = appendValue(errs, where+": "+name, key, member)
	}
	return errs
}

func allowed(attribute Attribute, value string) bool {
	return len(attribute.Values) == 0 || slices.Contains(attribute.Values, value)
}

func isTime(s string) bool {
	_, err := time.Parse(time.RFC3339Nano, s)
	return err == nil && strings.HasSuffix(s, "Z")
}

func isHex(s string) bool {
	digits, ok := strings.CutPrefix(s, "0x")
	_, err := strconv.ParseUint(digits, 16, 64)
	return ok && err == nil
}
