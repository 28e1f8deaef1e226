;; A component that asks what its deploy configures: under a name, and all that is.
(component
  (import "wasi:config/store@0.2.0-rc.1" (instance $config
    (type $why' (variant (case "upstream" string) (case "io" string)))
    (export "error" (type $why (eq $why')))
    (export "get" (func (param "key" string) (result (result (option string) (error $why)))))
    (export "get-all" (func (result (result (list (tuple string string)) (error $why)))))))
  (core module $libc
    (memory (export "memory") 1)
    (global $at (mut i32) (i32.const 1024))
    ;; What is given is a few texts, and none of them grows.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (local i32)
      (local.set 4 (i32.and (i32.add (global.get $at) (i32.sub (local.get 2) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get 2))))
      (global.set $at (i32.add (local.get 4) (local.get 3)))
      (local.get 4)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))
  (core func $get (canon lower (func $config "get") (memory $memory) (realloc $realloc)))
  (core func $all (canon lower (func $config "get-all") (memory $memory) (realloc $realloc)))
  (core module $m
    (import "host" "get" (func $get (param i32 i32 i32)))
    (import "host" "all" (func $all (param i32)))
    ;; Behind what says that it went well.
    (func (export "get") (param i32 i32) (result i32)
      (call $get (local.get 0) (local.get 1) (i32.const 16)) (i32.const 20))
    (func (export "all") (result i32) (call $all (i32.const 16)) (i32.const 20)))
  (core instance $i (instantiate $m
    (with "host" (instance (export "get" (func $get)) (export "all" (func $all))))))
  (func (export "get") (param "key" string) (result (option string))
    (canon lift (core func $i "get") (memory $memory) (realloc $realloc)))
  (func (export "all") (result (list (tuple string string)))
    (canon lift (core func $i "all") (memory $memory) (realloc $realloc))))
