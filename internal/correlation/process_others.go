//go:build !linux

package correlation

import (
	"errors"
	"os"
)

// openModule opens nothing: without the proc file system of Linux no file is provably the one that a process runs.
func (*Correlator) openModule(key) (*opened, Reason) { return nil, Unsupported }

func identify(*os.File) (fileID, error) { return fileID{}, errors.ErrUnsupported }
