package witness

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otelcol-witness/otelcol-witness/internal/semconv"
)

// MaxStack is how many frames of a stack are read; the outermost beyond it are cut. The kernel gives 127.
const MaxStack = 256

// StackOf reads witness.stack of a record, innermost frame first. Members of a wrong type, and
// a confidence that is not from 0 to 1, are read as absent.
func StackOf(record pcommon.Map) []Frame {
	v, ok := record.Get(semconv.WitnessStack)
	if !ok || v.Type() != pcommon.ValueTypeSlice || v.Slice().Len() == 0 {
		return nil
	}
	return appendStack(make([]Frame, 0, min(v.Slice().Len(), MaxStack)), v)
}

// appendStack appends the frames of a value.
func appendStack(frames []Frame, v pcommon.Value) []Frame {
	if v.Type() != pcommon.ValueTypeSlice {
		return frames
	}
	slice := v.Slice()
	for i := range min(slice.Len(), MaxStack) {
		if element := slice.At(i); element.Type() == pcommon.ValueTypeMap {
			frames = append(frames, Frame{})
			frames[len(frames)-1].read(element.Map())
		}
	}
	return frames
}

// PutStack writes witness.stack of a record.
func PutStack(record pcommon.Map, frames ...Frame) {
	slice := record.PutEmptySlice(semconv.WitnessStack)
	slice.EnsureCapacity(len(frames))
	for i := range frames {
		putFrame(slice.AppendEmpty().SetEmptyMap(), &frames[i])
	}
}

// read reads a frame into one that is empty.
func (f *Frame) read(m pcommon.Map) {
	for name, value := range m.All() {
		switch value.Type() {
		case pcommon.ValueTypeStr:
			s := value.Str()
			switch name {
			case semconv.FramePackage:
				f.Package = s
			case semconv.FrameMember:
				f.Member = s
			case semconv.FrameSymbol:
				f.Symbol = s
			case semconv.FrameLanguage:
				f.Language = s
			case semconv.FrameModule:
				f.Module.Path = s
			case semconv.FrameBuildID:
				f.Module.BuildID = s
			case semconv.FrameSHA256:
				f.Module.SHA256 = s
			case semconv.FrameFile:
				f.File = s
			case semconv.FrameComponent:
				f.Component = s
			case semconv.FrameSymbolSource:
				f.SymbolSource = s
			case semconv.FrameOffset:
				if offset, err := ParseOffset(s); err == nil {
					f.Offset, f.HasOffset = offset, true
				}
			}
		case pcommon.ValueTypeSlice:
			if name == semconv.FrameFlags {
				f.Flags = semconv.TextsOf(value)
				slices.Sort(f.Flags)
				f.Flags = slices.Compact(f.Flags)
			}
		case pcommon.ValueTypeInt:
			if name == semconv.FrameLine {
				f.Line = int(value.Int())
			}
		case pcommon.ValueTypeBool:
			if name == semconv.FrameInlined {
				f.Inlined = value.Bool()
			}
		case pcommon.ValueTypeDouble:
			if confidence := value.Double(); name == semconv.FrameConfidence && confidence >= 0 && confidence <= 1 {
				f.Confidence = confidence
			}
		}
	}
}

func putFrame(m pcommon.Map, f *Frame) {
	m.EnsureCapacity(8)
	semconv.PutText(m, semconv.FramePackage, f.Package)
	semconv.PutText(m, semconv.FrameMember, f.Member)
	semconv.PutText(m, semconv.FrameSymbol, f.Symbol)
	semconv.PutText(m, semconv.FrameLanguage, f.Language)
	semconv.PutTexts(m, semconv.FrameFlags, f.Flags)
	semconv.PutText(m, semconv.FrameModule, f.Module.Path)
	semconv.PutText(m, semconv.FrameBuildID, f.Module.BuildID)
	semconv.PutText(m, semconv.FrameSHA256, f.Module.SHA256)
	if f.HasOffset {
		m.PutStr(semconv.FrameOffset, FormatOffset(f.Offset))
	}
	semconv.PutText(m, semconv.FrameFile, f.File)
	if f.Line != 0 {
		m.PutInt(semconv.FrameLine, int64(f.Line))
	}
	if f.Inlined {
		m.PutBool(semconv.FrameInlined, true)
	}
	semconv.PutText(m, semconv.FrameComponent, f.Component)
	semconv.PutText(m, semconv.FrameSymbolSource, f.SymbolSource)
	if f.Confidence != 0 {
		m.PutDouble(semconv.FrameConfidence, f.Confidence)
	}
}

// FormatOffset writes an offset as it travels: 0x and hex digits.
func FormatOffset(offset uint64) string {
	return "0x" + strconv.FormatUint(offset, 16)
}

// ParseOffset reads what FormatOffset writes.
func ParseOffset(s string) (uint64, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	offset, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil {
		return 0, fmt.Errorf("an offset is 0x and up to 16 hex digits")
	}
	return offset, nil
}
