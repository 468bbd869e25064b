package semconv

import "go.opentelemetry.io/collector/pdata/pcommon"

// Text reads a string; empty when there is none, or a value of another type.
func Text(m pcommon.Map, name string) string {
	if v, ok := m.Get(name); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

// Texts reads the strings of a slice; nil when there are none. Elements of another type are left out.
func Texts(m pcommon.Map, name string) []string {
	v, ok := m.Get(name)
	if !ok {
		return nil
	}
	return TextsOf(v)
}

// TextsOf reads the strings of a slice, as Texts does.
func TextsOf(v pcommon.Value) []string {
	if v.Type() != pcommon.ValueTypeSlice || v.Slice().Len() == 0 {
		return nil
	}
	values := make([]string, 0, v.Slice().Len())
	for _, element := range v.Slice().All() {
		if element.Type() == pcommon.ValueTypeStr {
			values = append(values, element.Str())
		}
	}
	return values
}

// PutText writes a string that is not empty.
func PutText(m pcommon.Map, name, value string) {
	if value != "" {
		m.PutStr(name, value)
	}
}

// PutTexts writes a slice of strings that is not empty.
func PutTexts(m pcommon.Map, name string, values []string) {
	if len(values) == 0 {
		return
	}
	slice := m.PutEmptySlice(name)
	slice.EnsureCapacity(len(values))
	for _, value := range values {
		slice.AppendEmpty().SetStr(value)
	}
}
