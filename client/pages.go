package client

import (
	"context"
	"errors"
	"iter"
)

// errSamePage ends a list that would never end: a list that is cut short must not look whole.
var errSamePage = errors.New("the server names the same page again as the next one")

// pages goes through a list from a page on. get returns a page and the cursor of the next, nil on the last. An error ends
// the list.
func pages[T any](ctx context.Context, first Page, get func(context.Context, Page) ([]T, *string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := first; ; {
			items, next, err := get(ctx, page)
			if err == nil && next != nil && *next == page.Cursor {
				err = errSamePage
			}
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
			if next == nil {
				return
			}
			page.Cursor = *next
		}
	}
}
