;; Returns a text of as many bytes as it is asked for, each of which JSON writes as six, as its result or as its error.
(component
  (core module $m
    (memory (export "memory") 33)
    (func $text (export "text") (param $bytes i32) (result i32)
      (i32.store (i32.const 16) (i32.const 65536)) (i32.store (i32.const 20) (local.get $bytes)) (i32.const 16))
    (func (export "fail") (param $bytes i32) (result i32)
      (i32.store8 (i32.const 12) (i32.const 1)) (drop (call $text (local.get $bytes))) (i32.const 12)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $memory))
  (func (export "text") (param "bytes" u32) (result string)
    (canon lift (core func $i "text") (memory $memory)))
  (func (export "fail") (param "bytes" u32) (result (result (error string)))
    (canon lift (core func $i "fail") (memory $memory))))
