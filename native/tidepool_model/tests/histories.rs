//! That the check of histories notices what could not have been, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use tidepool_model::history::{Found, Seen, check};

/// Operations as `(client, op, argument, called, answer)`; an answer comes at a time, or never.
type Row<'a> = (u64, &'a str, &'a str, u64, Option<(u64, &'a str)>);

fn found(rows: &[Row<'_>]) -> Found {
    let lines = rows.iter().map(|(client, op, argument, called, answer)| {
        let (answered, answer) = answer.map_or((serde_json::Value::Null, None), |(at, text)| (at.into(), Some(text)));
        serde_json::json!({"actor": "a", "client": client, "op": op, "argument": argument, "called": called,
            "answered": answered, "answer": answer})
        .to_string()
    });
    check(lines.map(|line| Seen::read(&line).unwrap()).collect()).unwrap()
}

fn linearizable(rows: &[Row<'_>]) -> bool {
    found(rows).wrong.is_empty()
}

#[test]
fn what_one_actor_answers_is_linearizable() {
    let rows: &[Row<'_>] = &[
        (1, "add", "1", 0, Some((10, "1"))),
        (2, "add", "1", 5, Some((20, "2"))),
        (3, "sum", "", 8, Some((9, "1"))),
        (1, "put", "x", 30, Some((40, ""))),
        (2, "get", "", 35, Some((45, "x"))),
        (1, "append", "a", 50, Some((60, "1"))),
        (2, "append", "b", 55, Some((65, "2"))),
        (3, "lines", "", 70, Some((80, "a\nb"))),
    ];
    assert_eq!(found(rows), Found { actors: 1, answered: 8, open: 0, wrong: Vec::new() });
}

#[test]
fn an_answer_that_is_lost_is_noticed() {
    assert!(!linearizable(&[(1, "add", "1", 0, Some((10, "1"))), (2, "sum", "", 20, Some((30, "0")))]));
    assert!(!linearizable(&[(1, "put", "x", 0, Some((10, ""))), (2, "get", "", 20, Some((30, "")))]));
    assert!(!linearizable(&[(1, "append", "a", 0, Some((10, "1"))), (2, "lines", "", 20, Some((30, "")))]));
}

#[test]
fn two_that_add_to_the_same_are_noticed() {
    assert!(!linearizable(&[(1, "add", "1", 0, Some((10, "1"))), (2, "add", "1", 5, Some((15, "1")))]));
}

#[test]
fn an_answer_of_before_is_noticed_after_a_later_one() {
    let rows: &[Row<'_>] = &[
        (1, "put", "x", 0, Some((10, ""))),
        (1, "put", "y", 20, Some((100, ""))),
        (2, "get", "", 30, Some((40, "y"))),
        (3, "get", "", 50, Some((60, "x"))),
    ];
    assert!(!linearizable(rows));
    assert!(linearizable(&rows[..3]));
}

#[test]
fn an_open_operation_may_be_done_at_any_time_since_or_never_but_not_before() {
    let open: Row<'_> = (1, "add", "5", 10, None);
    let sum = |called, answer| (2, "sum", "", called, Some((called + 5, answer)));
    assert!(linearizable(&[open, sum(20, "0"), sum(30, "5"), sum(40, "5")]));
    assert!(linearizable(&[open, sum(20, "0"), sum(30, "0")]));
    assert!(!linearizable(&[open, sum(20, "5"), sum(30, "0")]));
    assert!(!linearizable(&[open, sum(20, "10")]));
    assert!(!linearizable(&[sum(0, "5"), open]));
}

#[test]
fn a_line_that_is_none_is_named() {
    for line in ["", "{}", r#"{"actor": "a", "client": 1, "op": "add", "argument": "x", "called": 1}"#] {
        assert!(Seen::read(line).is_err(), "{line}");
    }
}
