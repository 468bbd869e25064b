package tetragonreceiver

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/cilium/tetragon/api/v1/tetragon"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// maxArgumentText bounds the text of one hook argument, in bytes.
const maxArgumentText = 4096

// argumentTexts are the arguments of a hook, and what it returned, as index:type=value. The index is the place in the
// policy's args, data0, data1 … that in its data, or return. What can be an address is left out.
func argumentTexts(args, data []*tetragon.KprobeArgument, result *tetragon.KprobeArgument) []string {
	var texts []string
	add := func(index string, arg *tetragon.KprobeArgument) {
		if text := argumentText(arg); text != "" {
			texts = append(texts, index+":"+text)
		}
	}
	for i, arg := range args {
		add(strconv.Itoa(i), arg)
	}
	for i, arg := range data {
		add("data"+strconv.Itoa(i), arg)
	}
	add("return", result)
	return texts
}

func argumentText(arg *tetragon.KprobeArgument) string {
	if arg == nil {
		return ""
	}
	m := arg.ProtoReflect()
	field := m.WhichOneof(m.Descriptor().Oneofs().ByName("arg"))
	if field == nil {
		return ""
	}
	value := valueText(field, m.Get(field))
	if value == "" {
		return ""
	}
	text := string(field.Name()) + "=" + value
	if len(text) > maxArgumentText {
		text = strings.ToValidUTF8(text[:maxArgumentText], "")
	}
	return text
}

// valueText is a value as text, empty when it is withheld.
func valueText(field protoreflect.FieldDescriptor, value protoreflect.Value) string {
	if field.IsList() || field.IsMap() {
		return ""
	}
	if withheld(field, value) {
		return ""
	}
	switch field.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		m := value.Message()
		fields := m.Descriptor().Fields()
		var members []string
		for i := range fields.Len() {
			if member := fields.Get(i); m.Has(member) {
				if text := valueText(member, m.Get(member)); text != "" {
					members = append(members, string(member.Name())+":"+text)
				}
			}
		}
		return strings.Join(members, " ")
	case protoreflect.EnumKind:
		if name := field.Enum().Values().ByNumber(value.Enum()); name != nil {
			return string(name.Name())
		}
		return strconv.Itoa(int(value.Enum()))
	default:
		return value.String()
	}
}

// withheld reports whether a value of a hook argument can be an address: the cookie of a socket is one in the kernel,
// whole numbers of 64 bits are what policies declare pointers as, and bytes are copies of memory.
func withheld(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
	switch field.Kind() {
	case protoreflect.BytesKind:
		return true
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return field.Name() == "cookie" || value.Uint() >= 1<<32
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return value.Int() >= 1<<32 || value.Int() < -4096
	default:
		return false
	}
}

// putRaw writes the event as JSON, without the arguments of hooks, which have an attribute and rules of their own, and
// without what unusable keeps back. An event that cannot be written as JSON has no raw form.
func putRaw(m pcommon.Map, event *tetragon.GetEventsResponse) {
	clone := proto.Clone(event).(*tetragon.GetEventsResponse)
	clone.ProtoReflect().Range(func(_ protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if typed, ok := value.Interface().(protoreflect.Message); ok {
			for _, name := range []protoreflect.Name{"args", "data", "return"} {
				if field := typed.Descriptor().Fields().ByName(name); field != nil {
					typed.Clear(field)
				}
			}
		}
		return true
	})
	if kprobe := clone.GetProcessKprobe(); kprobe != nil {
		usable := kprobe.UserStackTrace[:0]
		for _, entry := range kprobe.UserStackTrace {
			if unusable(entry) == "" {
				usable = append(usable, entry)
			}
		}
		kprobe.UserStackTrace = usable
		for _, entries := range [][]*tetragon.StackTraceEntry{kprobe.KernelStackTrace, usable} {
			for _, entry := range entries {
				entry.Address = 0
				if entry.Offset > maxFileOffset {
					entry.Offset = 0
				}
			}
		}
	}
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(clone)
	if err != nil {
		return
	}
	var compact bytes.Buffer // protojson puts spaces at random
	if err := json.Compact(&compact, raw); err == nil {
		m.PutStr(semconv.TetragonRaw, compact.String())
	}
}
