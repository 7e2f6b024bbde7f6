// The launcher of Go functions: compiled with the function's own sources, in which its entry point stands for Main.
//
// It acknowledges its start on descriptor 3, then answers each line on standard input with one line there. A panic of
// the function ends the process, as in any program.

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"reflect"
	"strings"
)

func main() {
	answers := os.NewFile(3, "answers")
	entry := reflect.ValueOf(Main)
	chasenCheck(entry.Type())
	chasenAnswer(answers, []byte(`{"ok":true}`))
	lines := bufio.NewReaderSize(os.Stdin, 1<<16)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			chasenAnswer(answers, chasenRun(entry, line))
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			chasenFail("the request cannot be read: %v", err)
		}
	}
}

// One request in, one result out.
func chasenRun(entry reflect.Value, line []byte) []byte {
	var request map[string]json.RawMessage
	if err := json.Unmarshal(line, &request); err != nil {
		chasenFail("the request is no JSON object: %v", err)
	}
	argument := json.RawMessage("{}")
	for key, value := range request {
		if key == "value" {
			argument = value
			continue
		}
		// What is no string is no variable.
		var text string
		if json.Unmarshal(value, &text) == nil && string(value) != "null" {
			os.Setenv("__OW_"+strings.ToUpper(key), text)
		}
	}
	var arguments []reflect.Value
	if entry.Type().NumIn() == 1 {
		input := reflect.New(entry.Type().In(0))
		if err := json.Unmarshal(argument, input.Interface()); err != nil {
			chasenFail("the argument does not fit the function: %v", err)
		}
		arguments = append(arguments, input.Elem())
	}
	result, err := json.Marshal(entry.Call(arguments)[0].Interface())
	if err != nil {
		chasenFail("the result cannot be written as JSON: %v", err)
	}
	return result
}

// Ends the program unless the function takes at most one argument and gives one object or array.
func chasenCheck(entry reflect.Type) {
	if entry.Kind() != reflect.Func || entry.NumIn() > 1 || entry.IsVariadic() || entry.NumOut() != 1 {
		chasenFail("the entry point must be a function of one argument and one result, and is %v", entry)
	}
	switch entry.Out(0).Kind() {
	case reflect.Map, reflect.Slice, reflect.Array, reflect.Interface:
	default:
		chasenFail("Support map and slice and array only")
	}
}

func chasenAnswer(answers *os.File, line []byte) {
	if _, err := answers.Write(append(line, '\n')); err != nil {
		os.Exit(0)
	}
}

func chasenFail(format string, details ...interface{}) {
	fmt.Fprintf(os.Stderr, format+"\n", details...)
	os.Exit(1)
}
