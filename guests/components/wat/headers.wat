;; Has as many headers of its host's as it is asked for, of 30,000 bytes each, or requests with a body, and gives none back (`fill`,
;; `bodies`), or gives all of them back (`pass`); as many of 400 names each, without a byte (`many`), or that had as many (`hollow`).
(component
  (import "wasi:http/types@0.2.0" (instance $http
    (type $error (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
    (export "header-error" (type $named (eq $error)))
    (export "fields" (type $fields (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]fields.append"
      (func (param "self" (borrow $fields)) (param "name" string) (param "value" (list u8))
        (result (result (error $named)))))
    (export "[method]fields.delete"
      (func (param "self" (borrow $fields)) (param "name" string) (result (result (error $named)))))
    (export "outgoing-body" (type $body (sub resource)))
    (export "outgoing-request" (type $request (sub resource)))
    (export "[constructor]outgoing-request" (func (param "headers" (own $fields)) (result (own $request))))
    (export "[method]outgoing-request.body"
      (func (param "self" (borrow $request)) (result (result (own $body)))))))
  (core module $memory (memory (export "memory") 1) (data (i32.const 0) "x-filled"))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $m))
  (core func $make (canon lower (func $http "[constructor]fields")))
  (core func $append (canon lower (func $http "[method]fields.append") (memory $m)))
  (core func $delete (canon lower (func $http "[method]fields.delete") (memory $m)))
  (alias export $http "fields" (type $headers))
  (core func $drop (canon resource.drop $headers))
  (core func $request (canon lower (func $http "[constructor]outgoing-request")))
  (core func $body (canon lower (func $http "[method]outgoing-request.body") (memory $m)))
  (core module $guest
    (import "memory" "memory" (memory 1))
    (import "host" "make" (func $make (result i32)))
    (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
    (import "host" "delete" (func $delete (param i32 i32 i32 i32)))
    (import "host" "drop" (func $drop (param i32)))
    (import "host" "request" (func $request (param i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (func (export "bodies") (param i32)
      (loop $next
        (call $body (call $request (call $make)) (i32.const 512))
        (if (i32.load8_u (i32.const 512)) (then unreachable))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func $names (param $fields i32) (param $are_gone i32) (local $number i32)
      (local.set $number (i32.const 400))
      (loop $next
        (i32.store8 (i32.const 5) (i32.add (i32.const 48) (i32.div_u (local.get $number) (i32.const 100))))
        (i32.store8 (i32.const 6)
          (i32.add (i32.const 48) (i32.rem_u (i32.div_u (local.get $number) (i32.const 10)) (i32.const 10))))
        (i32.store8 (i32.const 7) (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (if (local.get $are_gone)
          (then (call $delete (local.get $fields) (i32.const 0) (i32.const 8) (i32.const 512)))
          (else (call $append (local.get $fields) (i32.const 0) (i32.const 8) (i32.const 1024) (i32.const 0) (i32.const 512))))
        (if (i32.load8_u (i32.const 512)) (then unreachable))
        (br_if $next (local.tee $number (i32.sub (local.get $number) (i32.const 1))))))
    (func (export "many") (param i32)
      (loop $next
        (call $names (call $make) (i32.const 0))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "hollow") (param i32) (local $made i32)
      (loop $next
        (local.set $made (call $make))
        (call $names (local.get $made) (i32.const 0))
        (call $names (local.get $made) (i32.const 1))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1))))))
    (func (export "pass") (param $count i32)
      (call $fill (local.get $count))
      (loop $next
        (call $drop (i32.load offset=40000 (i32.shl (local.get $count) (i32.const 2))))
        (br_if $next (local.tee $count (i32.sub (local.get $count) (i32.const 1))))))
    (func $fill (export "fill") (param i32) (local $made i32)
      (memory.fill (i32.const 1024) (i32.const 120) (i32.const 30000))
      (loop $next
        (local.set $made (call $make))
        (i32.store offset=40000 (i32.shl (local.get 0) (i32.const 2)) (local.get $made))
        (call $append (local.get $made) (i32.const 0) (i32.const 8) (i32.const 1024) (i32.const 30000) (i32.const 512))
        ;; The append was refused.
        (if (i32.load8_u (i32.const 512)) (then unreachable))
        (br_if $next (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))))
  (core instance $i (instantiate $guest
    (with "memory" (instance $memory))
    (with "host" (instance
      (export "make" (func $make)) (export "append" (func $append)) (export "drop" (func $drop))
      (export "delete" (func $delete))
      (export "request" (func $request)) (export "body" (func $body))))))
  (func (export "bodies") (param "count" u32) (canon lift (core func $i "bodies")))
  (func (export "many") (param "count" u32) (canon lift (core func $i "many")))
  (func (export "hollow") (param "count" u32) (canon lift (core func $i "hollow")))
  (func (export "pass") (param "count" u32) (canon lift (core func $i "pass")))
  (func (export "fill") (param "count" u32) (canon lift (core func $i "fill"))))
