package finding

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode"
	"unicode/utf8"
)

// tapeChunk is how much is read at once where nobody says how much, in bytes.
const tapeChunk = 64 << 10

// jsonBlank are the characters between the tokens of JSON.
const jsonBlank = " \t\r\n"

// tape reads a document of at most MaxSize bytes and keeps what came since the start of the item in hand, so that it can
// be read again.
type tape struct {
	r     io.Reader
	kept  []byte // from the start of the item on
	at    int    // in kept: what is read next
	total int    // bytes that came from r
	err   error  // of r; ErrSize when there was too much
}

// Read reads on, and fills p as long as there is something: a decoder looks at blanks again with every Read.
func (t *tape) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if t.at == len(t.kept) {
			if !t.more() {
				return n, t.err
			}
		}
		copied := copy(p[n:], t.kept[t.at:])
		t.at += copied
		n += copied
	}
	return n, nil
}

// more keeps what comes next, if anything does; else err says why not.
func (t *tape) more() bool {
	start := len(t.kept)
	for t.err == nil && len(t.kept) == start {
		if cap(t.kept)-start < tapeChunk {
			grown := make([]byte, start, max(2*start, start+tapeChunk))
			copy(grown, t.kept)
			t.kept = grown
		}
		var got int
		got, t.err = t.r.Read(t.kept[start : start+tapeChunk])
		t.kept = t.kept[:start+got]
		if t.total += got; t.total > MaxSize {
			t.kept, t.err = t.kept[:start], ErrSize
		}
	}
	return len(t.kept) > start
}

// failed reports whether the document cannot be read on, other than that it has ended.
func (t *tape) failed() bool { return t.err != nil && !errors.Is(t.err, io.EOF) }

// drop forgets the first n bytes of what is kept, and goes on behind them.
func (t *tape) drop(n int) {
	t.kept, t.at = t.kept[n:], 0
}

// start skips a byte order mark and returns the first byte that is not blank.
func (t *tape) start() (byte, error) {
	for len(t.kept) < 3 && t.more() {
		continue
	}
	if bytes.HasPrefix(t.kept, []byte("\xef\xbb\xbf")) {
		t.drop(3)
	}
	for blank := 0; ; {
		rest := bytes.TrimLeftFunc(t.kept[blank:], unicode.IsSpace)
		if len(rest) > 0 && utf8.FullRune(rest) {
			return rest[0], nil
		}
		blank = len(t.kept) - len(rest)
		if t.more() {
			continue
		}
		switch {
		case len(rest) > 0:
			return rest[0], nil
		case t.failed():
			return 0, t.err
		default:
			return 0, errors.New("is empty")
		}
	}
}

// ended drops blanks, and reports whether nothing comes behind them.
func (t *tape) ended() bool {
	for {
		t.drop(len(t.kept) - len(bytes.TrimLeft(t.kept, jsonBlank)))
		if len(t.kept) > 0 {
			return false
		}
		if !t.more() {
			return true
		}
	}
}

// startsFindings reports whether the item in hand is an object whose first member is findings.
func (t *tape) startsFindings() bool {
	const enough = 512 // with more blanks than that it is read as any other object
	for len(t.kept) < enough && t.more() {
		continue
	}
	rest, object := bytes.CutPrefix(t.kept, []byte("{"))
	rest, named := bytes.CutPrefix(bytes.TrimLeft(rest, jsonBlank), []byte(`"findings"`))
	return object && named && bytes.HasPrefix(bytes.TrimLeft(rest, jsonBlank), []byte(":"))
}

// nextObject goes to the next line that starts with a brace, behind the start of the item in hand. False if there is none.
func (t *tape) nextObject() bool {
	for {
		if next := bytes.Index(t.kept, []byte("\n{")); next >= 0 {
			t.drop(next + 1)
			return true
		}
		t.drop(max(0, len(t.kept)-1))
		if !t.more() {
			return false
		}
	}
}

// pass has a part of the document read that is read once, and keeps nothing of it.
func (t *tape) pass(read func(*json.Decoder) error) error {
	once := passing{t}
	decoder := json.NewDecoder(once)
	err := read(decoder)
	rest, _ := io.ReadAll(decoder.Buffered())
	t.kept, t.at = append(rest, t.kept[t.at:]...), 0
	return err
}

// passing forgets what was read.
type passing struct{ *tape }

func (p passing) Read(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var got int
		got, err = p.tape.Read(b[n:min(len(b), n+tapeChunk)])
		n += got
		p.kept, p.at = append(p.kept[:0], p.kept[p.at:]...), 0
	}
	return n, err
}
