;; Two components that are composed, and what they keep their host busy with: each with a memory of its own, between which
;; bytes and texts are copied without end; handles of resources; and bytes that are answered as they are.
(component
  (component $inner
    (core module $libc (memory (export "memory") 300)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
    (core instance $libc (instantiate $libc))
    (core module $m (func (export "take") (param i32 i32)))
    (core instance $i (instantiate $m))
    (func (export "take-bytes") (param "it" (list u8)) (canon lift (core func $i "take")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
    (func (export "take-text") (param "it" string) (canon lift (core func $i "take")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")))))
  (instance $inner (instantiate $inner))
  (component $outer
    (import "inner" (instance $inner
      (export "take-bytes" (func (param "it" (list u8)))) (export "take-text" (func (param "it" string)))))
    (core module $libc (memory (export "memory") 300)
      (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 65536)))
    (core instance $libc (instantiate $libc))
    (type $handle (resource (rep i32)))
    (core func $new (canon resource.new $handle))
    (core func $bytes (canon lower (func $inner "take-bytes") (memory (core memory $libc "memory"))))
    (core func $text (canon lower (func $inner "take-text") (memory (core memory $libc "memory")) string-encoding=utf16))
    (core module $m
      (import "libc" "memory" (memory 1))
      (import "host" "new" (func $new (param i32) (result i32)))
      (import "host" "bytes" (func $bytes (param i32 i32)))
      (import "host" "text" (func $text (param i32 i32)))
      (func (export "bytes") (loop $again (call $bytes (i32.const 65536) (i32.const 8388608)) (br $again)))
      ;; 1 MiB, which is recoded in one go: two bytes for each of its units.
      (func (export "texts") (loop $again (call $text (i32.const 65536) (i32.const 524288)) (br $again)))
      (func (export "handles") (param i32) (loop $next
        (drop (call $new (i32.const 7)))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
      (func (export "echo") (param i32 i32) (result i32)
        (i32.store (i32.const 16) (local.get 0)) (i32.store (i32.const 20) (local.get 1)) (i32.const 16)))
    (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance
      (export "new" (func $new)) (export "bytes" (func $bytes)) (export "text" (func $text))))))
    (func (export "bytes") (canon lift (core func $i "bytes")))
    (func (export "texts") (canon lift (core func $i "texts")))
    (func (export "handles") (param "count" u32) (canon lift (core func $i "handles")))
    (func (export "echo") (param "it" (list u8)) (result (list u8)) (canon lift (core func $i "echo")
      (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")))))
  (instance $outer (instantiate $outer (with "inner" (instance $inner))))
  (export "bytes" (func $outer "bytes"))
  (export "texts" (func $outer "texts"))
  (export "handles" (func $outer "handles"))
  (export "echo" (func $outer "echo")))
