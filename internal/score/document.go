package score

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"time"
)

// ParseWeights reads what AppendDocument writes: all of the weights, of this Model, and nothing else. The error names the
// weight.
func ParseWeights(document []byte) (*Weights, error) {
	var texts map[string]string
	if json.Unmarshal(document, &texts) != nil {
		return nil, errors.New("is no object of texts")
	}
	if texts["model"] != Model {
		return nil, errors.New("model: is another one")
	}
	w := &Weights{}
	if err := read(reflect.ValueOf(w).Elem(), "", texts); err != nil {
		return nil, err
	}
	if err := w.Validate(); err != nil {
		return nil, err
	}
	if !bytes.Equal(w.AppendDocument(nil), document) {
		return nil, errors.New("is not canonical, or has names that are not known")
	}
	return w, nil
}

// read sets the weights of a section, whose names begin with prefix.
func read(section reflect.Value, prefix string, texts map[string]string) error {
	for i := range section.NumField() {
		name := prefix + section.Type().Field(i).Tag.Get("mapstructure")
		field := section.Field(i)
		if field.Kind() == reflect.Struct {
			if err := read(field, name+"::", texts); err != nil {
				return err
			}
			continue
		}
		x, err := strconv.ParseFloat(texts[name], 64)
		if err != nil {
			return fmt.Errorf("%s: is no number", name)
		}
		if field.Type() == reflect.TypeFor[time.Duration]() {
			field.SetInt(int64(math.Round(min(x, float64(math.MaxInt64/int64(time.Second))) * float64(time.Second))))
		} else {
			field.SetFloat(x)
		}
	}
	return nil
}
