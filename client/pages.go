package client

import (
	"context"
	"iter"
)

// pages goes through a list from a page on. get returns a page and the cursor of the next, nil on the last. An error ends
// the list.
func pages[T any](ctx context.Context, first Page, get func(context.Context, Page) ([]T, *string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := first; ; {
			items, next, err := get(ctx, page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == nil || *next == page.Cursor {
				return
			}
			page.Cursor = *next
		}
	}
}
