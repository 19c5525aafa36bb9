// What Go itself reads, for tests/fuzz: encoding/json into a struct, crypto/x509 of a CSR.
//
// Its argument are the structs ({name: fields}, see golang.py).  Each line "NAME BASE64" on standard
// input, NAME a struct or "csr", is answered by a line of JSON, "null" for an error.
package main

import (
	"bufio"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
)

var kinds = map[string]reflect.Type{"str": reflect.TypeOf(""), "bool": reflect.TypeOf(true),
	"int": reflect.TypeOf(0), "raw": reflect.TypeOf(&json.RawMessage{})}

func typeOf(kind any) reflect.Type {
	switch kind := kind.(type) {
	case []any:
		return reflect.SliceOf(typeOf(kind[0]))
	case map[string]any:
		fields := []reflect.StructField{}
		for name, of := range kind {
			fields = append(fields, reflect.StructField{Name: fmt.Sprint("F", len(fields)),
				Type: typeOf(of), Tag: reflect.StructTag(fmt.Sprintf("json:%q", name))})
		}
		return reflect.StructOf(fields)
	}
	return kinds[kind.(string)]
}

func read(kind string, data []byte, structs map[string]any) (any, error) {
	if kind != "csr" {
		into := reflect.New(typeOf(structs[kind])).Interface()
		return into, json.Unmarshal(data, into)
	}
	csr, err := x509.ParseCertificateRequest(data)
	if err != nil {
		return nil, err
	}
	return map[string]any{"dns": csr.DNSNames, "ip": csr.IPAddresses, "email": csr.EmailAddresses,
		"uri": csr.URIs, "common": csr.Subject.CommonName}, nil
}

func main() {
	in, structs := bufio.NewReader(os.Stdin), map[string]any{}
	if err := json.Unmarshal([]byte(os.Args[1]), &structs); err != nil {
		panic(err)
	}
	for line, err := in.ReadString('\n'); err == nil; line, err = in.ReadString('\n') {
		kind, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		data, _ := base64.StdEncoding.DecodeString(text)
		found, err := read(kind, data, structs)
		answer, _ := json.Marshal(found)
		if err != nil {
			answer = []byte("null")
		}
		os.Stdout.Write(append(answer, '\n'))
	}
}
