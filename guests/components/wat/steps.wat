;; A component that says how far it is, for those who wait: a line before each of its steps, of which the last has no end.
(component
  (import "wasi:logging/logging@0.1.0-draft" (instance $log
    (type $level' (enum "trace" "debug" "info" "warn" "error" "critical"))
    (export "level" (type $level (eq $level')))
    (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
  (core module $libc (memory (export "memory") 1) (data (i32.const 16) "1 of 2"))
  (core instance $libc (instantiate $libc))
  (core func $say (canon lower (func $log "log") (memory (core memory $libc "memory"))))
  (core module $m
    (import "libc" "memory" (memory 1))
    (import "host" "say" (func $say (param i32 i32 i32 i32 i32)))
    (func (export "work")
      (local $left i32)
      (call $say (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 6))
      (local.set $left (i32.const 0x40000000))
      (loop $again (br_if $again (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (i32.store8 (i32.const 16) (i32.const 0x32))
      (call $say (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 16) (i32.const 6))
      (loop $forever (br $forever))))
  (core instance $i (instantiate $m (with "libc" (instance $libc)) (with "host" (instance (export "say" (func $say))))))
  (func (export "work") (canon lift (core func $i "work"))))
