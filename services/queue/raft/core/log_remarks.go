package main

import "fmt"

const (
	remarksMax     = 16
	remarkBytesMax = 512
)

// remarks is raft's logger: warnings and errors are kept for the mail log until the next Ready, what
// is said of the normal course is not.
type remarks struct{ lines []string }

func (r *remarks) add(line string) {
	if len(line) > remarkBytesMax {
		line = line[:remarkBytesMax]
	}
	if len(r.lines) < remarksMax {
		r.lines = append(r.lines, line)
	}
}

func (r *remarks) Debug(...interface{})                     {}
func (r *remarks) Debugf(string, ...interface{})            {}
func (r *remarks) Info(...interface{})                      {}
func (r *remarks) Infof(string, ...interface{})             {}
func (r *remarks) Warning(v ...interface{})                 { r.add(fmt.Sprint(v...)) }
func (r *remarks) Warningf(format string, v ...interface{}) { r.add(fmt.Sprintf(format, v...)) }
func (r *remarks) Error(v ...interface{})                   { r.add(fmt.Sprint(v...)) }
func (r *remarks) Errorf(format string, v ...interface{})   { r.add(fmt.Sprintf(format, v...)) }
func (r *remarks) Fatal(v ...interface{})                   { panic(fmt.Sprint(v...)) }
func (r *remarks) Fatalf(format string, v ...interface{})   { panic(fmt.Sprintf(format, v...)) }
func (r *remarks) Panic(v ...interface{})                   { panic(fmt.Sprint(v...)) }
func (r *remarks) Panicf(format string, v ...interface{})   { panic(fmt.Sprintf(format, v...)) }
