;; The same function as a component of `wasmtime serve`, the world `wasi:http/proxy` of WASI 0.2: reads the body to its
;; end, answers `{}`. Written by hand, so that no toolchain for WebAssembly is needed; it traps where a call fails.
(component $component
  (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
  (alias export $errors "error" (type $io-error))

  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer $component $io-error (type $io-error))
    (export "input-stream" (type $input-stream (sub resource)))
    (export "output-stream" (type $output-stream (sub resource)))
    (type $any-stream-error (variant (case "last-operation-failed" (own $io-error)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $any-stream-error)))
    (export "[method]input-stream.blocking-read" (func
      (param "self" (borrow $input-stream)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func
      (param "self" (borrow $output-stream)) (param "contents" (list u8))
      (result (result (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input-stream))
  (alias export $streams "output-stream" (type $output-stream))

  (import "wasi:http/types@0.2.0" (instance $http
    (alias outer $component $input-stream (type $input-stream))
    (alias outer $component $output-stream (type $output-stream))
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $incoming-request (sub resource)))
    (export "incoming-body" (type $incoming-body (sub resource)))
    (export "outgoing-response" (type $outgoing-response (sub resource)))
    (export "outgoing-body" (type $outgoing-body (sub resource)))
    (export "response-outparam" (type $response-outparam (sub resource)))
    (type $any-header-error (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $header-error (eq $any-header-error)))
    (type $any-dns-error (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns-error (eq $any-dns-error)))
    (type $any-tls-alert (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls-alert (eq $any-tls-alert)))
    (type $any-field-size (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field-size (eq $any-field-size)))
    (type $any-error-code (variant
      (case "DNS-timeout")
      (case "DNS-error" $dns-error)
      (case "destination-not-found")
      (case "destination-unavailable")
      (case "destination-IP-prohibited")
      (case "destination-IP-unroutable")
      (case "connection-refused")
      (case "connection-terminated")
      (case "connection-timeout")
      (case "connection-read-timeout")
      (case "connection-write-timeout")
      (case "connection-limit-reached")
      (case "TLS-protocol-error")
      (case "TLS-certificate-error")
      (case "TLS-alert-received" $tls-alert)
      (case "HTTP-request-denied")
      (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field-size))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field-size)
      (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field-size)
      (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $field-size)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed")
      (case "HTTP-protocol-error")
      (case "loop-detected")
      (case "configuration-error")
      (case "internal-error" (option string))))
    (export "error-code" (type $error-code (eq $any-error-code)))
    (export "[method]incoming-request.consume" (func
      (param "self" (borrow $incoming-request)) (result (result (own $incoming-body)))))
    (export "[method]incoming-body.stream" (func
      (param "self" (borrow $incoming-body)) (result (result (own $input-stream)))))
    (export "[static]fields.from-list" (func
      (param "entries" (list (tuple string (list u8)))) (result (result (own $fields) (error $header-error)))))
    (export "[constructor]outgoing-response" (func
      (param "headers" (own $fields)) (result (own $outgoing-response))))
    (export "[method]outgoing-response.body" (func
      (param "self" (borrow $outgoing-response)) (result (result (own $outgoing-body)))))
    (export "[static]response-outparam.set" (func
      (param "param" (own $response-outparam))
      (param "response" (result (own $outgoing-response) (error $error-code)))))
    (export "[method]outgoing-body.write" (func
      (param "self" (borrow $outgoing-body)) (result (result (own $output-stream)))))
    (export "[static]outgoing-body.finish" (func
      (param "this" (own $outgoing-body)) (param "trailers" (option (own $fields)))
      (result (result (error $error-code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "incoming-body" (type $incoming-body))
  (alias export $http "response-outparam" (type $response-outparam))

  ;; What stands where: results of calls at 64, the two header fields at 128, texts at 256, what is read at 4096.
  (core module $Memory
    (memory (export "memory") 1)
    ;; Of what comes from outside only one list is held at a time, of no more bytes than were asked for.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (if (i32.gt_u (local.get 3) (i32.const 16384)) (then unreachable))
      (i32.const 4096))
    (data (i32.const 128) "\00\01\00\00" "\0c\00\00\00" "\0c\01\00\00" "\10\00\00\00")
    (data (i32.const 144) "\1c\01\00\00" "\0e\00\00\00" "\2a\01\00\00" "\01\00\00\00")
    (data (i32.const 256) "content-type" "application/json" "content-length" "2" "{}"))
  (core instance $own (instantiate $Memory))
  (alias core export $own "memory" (core memory $memory))
  (alias core export $own "realloc" (core func $realloc))

  (core func $consume
    (canon lower (func $http "[method]incoming-request.consume") (memory $memory)))
  (core func $body-stream
    (canon lower (func $http "[method]incoming-body.stream") (memory $memory)))
  (core func $read
    (canon lower (func $streams "[method]input-stream.blocking-read") (memory $memory) (realloc $realloc)))
  (core func $fields
    (canon lower (func $http "[static]fields.from-list") (memory $memory)))
  (core func $response
    (canon lower (func $http "[constructor]outgoing-response")))
  (core func $response-body
    (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $body-write
    (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $answer
    (canon lower (func $http "[static]response-outparam.set") (memory $memory)))
  (core func $write
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory) (realloc $realloc)))
  (core func $finish
    (canon lower (func $http "[static]outgoing-body.finish") (memory $memory) (realloc $realloc)))
  (core func $drop-request (canon resource.drop $incoming-request))
  (core func $drop-body (canon resource.drop $incoming-body))
  (core func $drop-input (canon resource.drop $input-stream))
  (core func $drop-output (canon resource.drop $output-stream))

  (core module $Function
    (import "own" "memory" (memory 1))
    (import "http" "consume" (func $consume (param i32 i32)))
    (import "http" "body-stream" (func $body-stream (param i32 i32)))
    (import "http" "read" (func $read (param i32 i64 i32)))
    (import "http" "fields" (func $fields (param i32 i32 i32)))
    (import "http" "response" (func $response (param i32) (result i32)))
    (import "http" "response-body" (func $response-body (param i32 i32)))
    (import "http" "body-write" (func $body-write (param i32 i32)))
    (import "http" "answer" (func $answer (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "http" "write" (func $write (param i32 i32 i32 i32)))
    (import "http" "finish" (func $finish (param i32 i32 i32 i32)))
    (import "http" "drop-request" (func $drop-request (param i32)))
    (import "http" "drop-body" (func $drop-body (param i32)))
    (import "http" "drop-input" (func $drop-input (param i32)))
    (import "http" "drop-output" (func $drop-output (param i32)))

    ;; The last call's result, which must be `ok`.
    (func $ok
      (if (i32.load8_u (i32.const 64)) (then unreachable)))
    ;; The handle in it.
    (func $handle-of (result i32)
      (call $ok)
      (i32.load (i32.const 68)))

    (func $read-all (param $request i32) (local $body i32) (local $stream i32)
      (call $consume (local.get $request) (i32.const 64))
      (local.set $body (call $handle-of))
      (call $body-stream (local.get $body) (i32.const 64))
      (local.set $stream (call $handle-of))
      (loop $more
        (call $read (local.get $stream) (i64.const 16384) (i32.const 64))
        (br_if $more (i32.eqz (i32.load8_u (i32.const 64)))))
      ;; The error that is expected: the stream is closed.
      (if (i32.ne (i32.load8_u (i32.const 68)) (i32.const 1)) (then unreachable))
      (call $drop-input (local.get $stream))
      (call $drop-body (local.get $body))
      (call $drop-request (local.get $request)))

    (func (export "handle") (param $request i32) (param $out i32)
      (local $response i32) (local $body i32) (local $stream i32)
      (call $read-all (local.get $request))
      (call $fields (i32.const 128) (i32.const 2) (i32.const 64))
      (local.set $response (call $response (call $handle-of)))
      (call $response-body (local.get $response) (i32.const 64))
      (local.set $body (call $handle-of))
      ;; `ok` and the response; the zeros fill the place that an error would take.
      (call $answer (local.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (call $body-write (local.get $body) (i32.const 64))
      (local.set $stream (call $handle-of))
      (call $write (local.get $stream) (i32.const 299) (i32.const 2) (i32.const 64))
      (call $ok)
      (call $drop-output (local.get $stream))
      (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 64))
      (call $ok)))
  (core instance $function (instantiate $Function
    (with "own" (instance $own))
    (with "http" (instance
      (export "consume" (func $consume))
      (export "body-stream" (func $body-stream))
      (export "read" (func $read))
      (export "fields" (func $fields))
      (export "response" (func $response))
      (export "response-body" (func $response-body))
      (export "body-write" (func $body-write))
      (export "answer" (func $answer))
      (export "write" (func $write))
      (export "finish" (func $finish))
      (export "drop-request" (func $drop-request))
      (export "drop-body" (func $drop-body))
      (export "drop-input" (func $drop-input))
      (export "drop-output" (func $drop-output))))))

  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $function "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
