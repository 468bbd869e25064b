package sqlite

import (
	"cmp"
	"slices"

	"github.com/otelcol-witness/otelcol-witness/storage"
)

// receiver is what storage.Receiver says of a source.
type receiver string

// receiverOf reads through a cache: the text of a source never changes.
func (v *snapshot) receiverOf(source int64) (receiver, error) {
	if r, ok := v.owner.sources.get(source); ok {
		return r, nil
	}
	var text string
	if err := v.tx.QueryRowContext(v.ctx, "SELECT text FROM source WHERE id = ?", source).Scan(&text); err != nil {
		return "", err
	}
	r := receiver(storage.Receiver(text))
	v.owner.sources.put(source, r)
	return r, nil
}

// lawNine marks the hits that count: per window, instance and assurance those of the receiver with the larger sum, and
// all posted ones.
func (v *snapshot) lawNine(hits []hit) error {
	several := false
	for i := range hits {
		hits[i].counts = true
		several = several || hits[i].source != hits[0].source
	}
	if !several {
		return nil
	}
	receivers := map[int64]receiver{}
	for i := range hits {
		if _, ok := receivers[hits[i].source]; !ok {
			r, err := v.receiverOf(hits[i].source)
			if err != nil {
				return err
			}
			receivers[hits[i].source] = r
		}
	}
	choose(hits, receivers)
	return nil
}

// choose is lawNine with the receivers of sources known.
func choose(hits []hit, receivers map[int64]receiver) {
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(a.instance, b.instance), cmp.Compare(a.assurance, b.assurance),
			cmp.Compare(receivers[a.source], receivers[b.source]))
	})
	for begin := 0; begin < len(hits); {
		end := begin
		var best receiver
		var most uint64
		for end < len(hits) && hits[end].start == hits[begin].start && hits[end].instance == hits[begin].instance && hits[end].assurance == hits[begin].assurance {
			of := receivers[hits[end].source]
			var total uint64
			for ; end < len(hits) && hits[end].start == hits[begin].start && hits[end].instance == hits[begin].instance &&
				hits[end].assurance == hits[begin].assurance && receivers[hits[end].source] == of; end++ {
				total = sum(total, hits[end].hits)
			}
			if of != storage.PostSource && total > most {
				best, most = of, total
			}
		}
		for i := begin; i < end; i++ {
			of := receivers[hits[i].source]
			hits[i].counts = of == best || of == storage.PostSource
		}
		begin = end
	}
}
