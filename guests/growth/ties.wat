;; A program that waits for a message, and whose 320 processes then all watch each other, and are linked to each other. It ends with the first of them that does.
;; Expect: as many links and monitors as its namespace has memory for; everything back when the program has ended.

(module
  (import "lunatic::message" "create_data" (func $create (param i64 i64)))
  (import "lunatic::message" "send" (func $send (param i64) (result i32)))
  (import "lunatic::message" "receive" (func $receive (param i32 i32 i64) (result i32)))
  (import "lunatic::process" "spawn" (func $spawn (param i64 i64 i64 i32 i32 i32 i32 i32) (result i32)))
  (import "lunatic::process" "process_id" (func $me (result i64)))
  (import "lunatic::process" "link" (func $link (param i64 i64)))
  (import "lunatic::process" "die_when_link_dies" (func $die_when_link_dies (param i32)))
  (import "lunatic::process" "monitor" (func $monitor (param i64)))

  (global $all i64 (i64.const 320))

  ;; 0: a process; 64: an entry.
  (memory (export "memory") 1)
  (data (i32.const 64) "watches")

  (func $wait (loop $more (drop (call $receive (i32.const 0) (i32.const 0) (i64.const -1))) (br $more)))
  (func $begin (drop (call $receive (i32.const 0) (i32.const 0) (i64.const -1))))

  ;; Processes of a program are numbered as they are made: the first one is 1.
  (func (export "watches") (local $id i64)
    (call $begin)
    ;; The first one of the program dies with the first that ends, and the others with it.
    (call $die_when_link_dies (i32.const 0))
    (loop $more
      (local.set $id (i64.add (local.get $id) (i64.const 1)))
      (if (i64.ne (local.get $id) (call $me))
        (then (call $monitor (local.get $id)) (call $link (i64.const 1) (local.get $id))))
      (br_if $more (i64.le_u (local.get $id) (global.get $all))))
    (call $wait))

  (func (export "_start") (call $wait))
  (func (export "links and monitors") (local $id i64)
    (call $begin)
    (loop $more
      (if (call $spawn (i64.const 1) (i64.const -1) (i64.const -1) (i32.const 64) (i32.const 7) (i32.const 0) (i32.const 0)
            (i32.const 0))
        (then (unreachable)))
      (local.set $id (i64.add (local.get $id) (i64.const 1)))
      (br_if $more (i64.lt_u (local.get $id) (global.get $all))))
    (local.set $id (i64.const 2))
    (loop $more
      (call $create (i64.const 0) (i64.const 0))
      (drop (call $send (local.get $id)))
      (local.set $id (i64.add (local.get $id) (i64.const 1)))
      (br_if $more (i64.le_u (local.get $id) (i64.add (global.get $all) (i64.const 1)))))
    (call $wait)))
