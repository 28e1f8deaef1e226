//! Any changes, in any order: the records are what a table in memory has.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use crate::support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;
use support::{Place, commit, commit_all, postgres};
use tidepool_records::{Change, Head, Image, Key, MAX_LINKS, MostOfEach, Put, Record, Records, StoreError, Usage};

type Model = BTreeMap<Key, (Record, BTreeMap<Vec<u8>, Vec<u8>>)>;

#[derive(Debug, Clone)]
enum Step {
    Put {
        key: usize,
        ahead: u64,
        epoch: u64,
        image: Image,
        alarm_at: Option<i64>,
        value: Option<Option<Vec<u8>>>,
        reset: bool,
    },
    Delete {
        key: usize,
        epoch: u64,
    },
    Erase {
        key: usize,
        epoch: u64,
    },
    Reopen,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => prop::collection::vec(any::<u8>(), 0..40), 1 => prop::collection::vec(any::<u8>(), 20_000..20_001)]
}

fn step() -> impl Strategy<Value = Step> {
    let image = prop_oneof![
        Just(Image::Keep),
        bytes().prop_map(|bytes| Image::Whole(bytes.into())),
        bytes().prop_map(|bytes| Image::Next(bytes.into()))
    ];
    let value = prop::option::of(prop::option::of(bytes()));
    let ahead = prop_oneof![8 => Just(1_u64), 1 => Just(0), 1 => Just(2)];
    prop_oneof![
        12 => (0..KEYS, ahead, 0..4_u64, image, prop::option::of(any::<i64>()), value, prop::bool::weighted(0.2))
            .prop_map(|(key, ahead, epoch, image, alarm_at, value, reset)| {
                Step::Put { key, ahead, epoch, image, alarm_at, value, reset }
            }),
        2 => (0..KEYS, 0..4_u64).prop_map(|(key, epoch)| Step::Delete { key, epoch }),
        1 => (0..KEYS, 0..4_u64).prop_map(|(key, epoch)| Step::Erase { key, epoch }),
        1 => Just(Step::Reopen),
    ]
}

const KEYS: usize = 7;

/// Those of the namespace `c` have neighbours on both sides.
fn keys() -> [Key; KEYS] {
    let of = |class: &str, name: &str| Key::new(class, name);
    [of("c", "a"), of("c", "b"), of("ca", ""), of("d", "ü/%\u{0}x"), of("c/d", "a"), of("c/~", "b"), of("c0", "c")]
}

fn write(reset: bool, put: Put) -> Change {
    if reset { Change::Reset(put) } else { Change::Put(put) }
}

/// What the model says to a change: `true` when it is made. Where shards have an epoch, it is the change's.
fn made(model: &mut Model, key: &Key, change: &Change, shards: Option<u64>) -> bool {
    let (Change::Put(Put { epoch, .. })
    | Change::Reset(Put { epoch, .. })
    | Change::Delete { epoch, .. }
    | Change::Erase { epoch }) = change;
    if shards.is_some_and(|shards| shards != *epoch) {
        return false;
    }
    let (epoch, seq) = model.get(key).map_or((0, 0), |(record, _values)| (record.epoch, record.seq));
    match change {
        Change::Delete { epoch: by, seq: at } => {
            let may = *by >= epoch && *at == seq;
            if may {
                model.remove(key);
            }
            may
        }
        Change::Erase { epoch: by } => {
            let may = *by >= epoch;
            if may {
                model.remove(key);
            }
            may
        }
        Change::Put(put) | Change::Reset(put) => {
            let reset = matches!(change, Change::Reset(_));
            let links = model.get(key).map_or(0, |(record, _values)| record.images.len());
            let chained = match put.image {
                Image::Whole(_) => true,
                Image::Keep => !reset,
                Image::Next(_) => !reset && (1..MAX_LINKS).contains(&links),
            };
            let may = put.epoch >= epoch && put.seq == seq + 1 && chained;
            if may {
                if reset {
                    model.remove(key);
                }
                let (record, values) = model.entry(key.clone()).or_default();
                (record.epoch, record.seq, record.alarm_at) = (put.epoch, put.seq, put.alarm_at);
                record.head.clone_from(&put.head);
                match &put.image {
                    Image::Keep => {}
                    Image::Whole(bytes) => record.images = vec![bytes.to_vec()],
                    Image::Next(bytes) => record.images.push(bytes.to_vec()),
                }
                for (of, value) in &put.values {
                    match value {
                        Some(value) => drop(values.insert(of.clone(), value.clone())),
                        None => drop(values.remove(of)),
                    }
                }
            }
            may
        }
    }
}

fn same(records: &Records, model: &Model) -> Result<(), TestCaseError> {
    for key in keys() {
        let found = records.read(&key).unwrap();
        prop_assert_eq!(found.as_ref(), model.get(&key).map(|(record, _values)| record));
        let head = found.map(|Record { seq, alarm_at, head, images, .. }| {
            let bytes = (head.len() + images.iter().map(Vec::len).sum::<usize>()) as u64;
            Head { seq, alarm_at, bytes, head }
        });
        prop_assert_eq!(records.head(&key).unwrap(), head);
        let values = model.get(&key).map(|(_record, values)| values.clone()).unwrap_or_default();
        let listed = records.values(&key, b"", None, 10).unwrap();
        prop_assert_eq!(listed, values.into_iter().collect::<Vec<_>>());
    }
    for class in ["c", "ca", "d", "e", "c/d", "c/~", "c0"] {
        let mut listed = Vec::new();
        let mut from = None;
        loop {
            let page = records.list(class, from.as_ref(), 1).unwrap();
            listed.extend(
                page.records.into_iter().map(|summary| (summary.key, summary.seq, summary.alarm_at, summary.bytes)),
            );
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        listed.sort();
        let expected: Vec<_> = model
            .iter()
            .filter(|(key, _)| key.class == class)
            .map(|(key, (record, _values))| {
                let bytes = record.head.len() + record.images.iter().map(Vec::len).sum::<usize>();
                (key.clone(), record.seq, record.alarm_at, bytes as u64)
            })
            .collect();
        prop_assert_eq!(listed, expected);
        let heads = records.heads(class, None, 100).unwrap();
        prop_assert_eq!(heads.next, None);
        let of_class = model.iter().filter(|(key, _)| key.class == class);
        let mut expected: Vec<_> =
            of_class.map(|(key, (record, _values))| (key.name.clone(), Some(record.head.clone()))).collect();
        expected.sort_by_key(|(name, _head)| (Key::new(class, name.as_str()).shard(), name.clone()));
        prop_assert_eq!(heads.records, expected);
    }
    for namespace in ["c", "d", ""] {
        let of = |key: &&Key| key.class.strip_prefix(namespace).is_some_and(|rest| rest.starts_with('/'));
        let bytes = |key: &Key| {
            let (record, values) = &model[key];
            let values: usize = values.iter().map(|(of, value)| of.len() + value.len() + 64).sum();
            record.head.len() + record.images.iter().map(Vec::len).sum::<usize>() + values
        };
        let expected = model.keys().filter(of).fold(Usage::default(), |sum, key| Usage {
            records: sum.records + 1,
            bytes: sum.bytes + bytes(key) as u64,
        });
        prop_assert_eq!(records.usage(namespace, true).unwrap(), expected);
        prop_assert_eq!(records.usage(namespace, false).unwrap(), Usage { bytes: 0, ..expected });
    }
    let classes: BTreeSet<String> = model.keys().map(|key| key.class.clone()).collect();
    let classes: Vec<String> = classes.into_iter().collect();
    prop_assert_eq!(&records.classes("", 100).unwrap(), &classes);
    if let [first, second, ..] = &classes[..] {
        prop_assert_eq!(records.classes(first, 1).unwrap(), [second.clone()]);
    }
    let mut due: Vec<_> = model
        .iter()
        .filter_map(|(key, (record, _values))| Some((record.alarm_at?, key.clone())))
        .filter(|due| due.0 <= 7)
        .collect();
    due.sort();
    let mut alarms = records.alarms(7, &MostOfEach::new(100, [])).unwrap();
    prop_assert!(alarms.is_sorted_by_key(|(at, _key)| *at));
    alarms.sort();
    prop_assert_eq!(alarms, due);
    let namespace =
        |class: &str| class.split_once('/').map(|(namespace, _name)| namespace.to_owned()).unwrap_or_default();
    let counted = |most: &MostOfEach| {
        let mut counts = BTreeMap::new();
        for (_at, key) in records.alarms(i64::MAX, most).unwrap() {
            *counts.entry(namespace(&key.class)).or_insert(0) += 1;
        }
        counts
    };
    let all = counted(&MostOfEach::new(100, []));
    let some = counted(&MostOfEach::new(1, [("c".to_owned(), 1), (String::new(), 2)]));
    for (namespace, count) in all {
        let most = match &*namespace {
            "c" => 2,
            "" => 3,
            _other => 1,
        };
        prop_assert_eq!(some[&namespace], count.min(most), "{}", namespace);
    }
    Ok(())
}

fn hold(place: &Place, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let shards = (!matches!(place, Place::File(_))).then_some(1);
    let mut records = place.open();
    let mut model = Model::new();
    for step in steps {
        let (key, change) = match step {
            Step::Reopen => {
                records.close();
                records = place.open();
                continue;
            }
            Step::Put { key, ahead, epoch, image, alarm_at, value, reset } => {
                let key = keys()[key].clone();
                let seq = model.get(&key).map_or(0, |(record, _values)| record.seq) + ahead;
                let head = format!("{epoch} {seq}").into_bytes();
                let values = value.map(|value| (b"k".to_vec(), value)).into_iter().collect();
                (key, write(reset, Put { epoch, seq, alarm_at, head, image, values }))
            }
            Step::Delete { key, epoch } => {
                let key = keys()[key].clone();
                let seq = model.get(&key).map_or(0, |(record, _values)| record.seq);
                (key, Change::Delete { epoch, seq })
            }
            Step::Erase { key, epoch } => (keys()[key].clone(), Change::Erase { epoch }),
        };
        let may = made(&mut model, &key, &change, shards);
        match commit(&records, &key, change) {
            Ok(()) => prop_assert!(may),
            Err(StoreError::Fenced { .. } | StoreError::OutOfOrder { .. } | StoreError::Chain { .. }) => {
                prop_assert!(!may);
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
    same(&records, &model)?;
    records.close();
    Ok(())
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn records_in_a_file_are_what_their_changes_made_them(steps in steps()) {
        hold(&Place::File(tempfile::tempdir().unwrap()), steps)?;
    }
}

// A case of these takes longer.
/// Empties a database table by table: what a store does on its own meanwhile waits for one lock, and no two wait for each other.
fn emptied(url: &str) {
    for table in ["record", "image", "value", "tally"] {
        postgres::execute(url, &format!("TRUNCATE tidepool.{table}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn records_of_a_voter_are_what_their_changes_made_them(steps in steps()) {
        hold(&Place::Voter(tempfile::tempdir().unwrap()), steps)?;
    }

    #[test]
    fn records_in_a_database_are_what_their_changes_made_them(steps in steps()) {
        static URL: OnceLock<String> = OnceLock::new();
        let url = URL.get_or_init(|| postgres::server().database());
        let place = Place::Database(url.clone());
        place.open().close();
        emptied(url);
        hold(&place, steps)?;
    }

    #[test]
    fn changes_that_a_database_commits_together_make_what_they_make_one_by_one(steps in steps()) {
        static URL: OnceLock<String> = OnceLock::new();
        let url = URL.get_or_init(|| postgres::server().database());
        let place = Place::Database(url.clone());
        let records = place.open();
        emptied(url);
        let mut model = Model::new();
        let (mut changes, mut expected) = (Vec::new(), Vec::new());
        for step in steps {
            let (key, change) = match step {
                Step::Reopen => continue,
                Step::Put { key, ahead, image, alarm_at, value, reset, .. } => {
                    let key = keys()[key].clone();
                    let seq = model.get(&key).map_or(0, |(record, _values)| record.seq) + ahead;
                    let values = value.map(|value| (b"k".to_vec(), value)).into_iter().collect();
                    let head = seq.to_le_bytes().into();
                    (key, write(reset, Put { epoch: 1, seq, alarm_at, head, image, values }))
                }
                Step::Delete { key, .. } => {
                    let key = keys()[key].clone();
                    let seq = model.get(&key).map_or(0, |(record, _values)| record.seq);
                    (key, Change::Delete { epoch: 1, seq })
                }
                Step::Erase { key, .. } => (keys()[key].clone(), Change::Erase { epoch: 1 }),
            };
            expected.push(made(&mut model, &key, &change, Some(1)));
            changes.push((key, change));
        }
        let outcomes: Vec<_> = commit_all(&records, changes).iter().map(Result::is_ok).collect();
        prop_assert_eq!(outcomes, expected);
        same(&records, &model)?;
        records.close();
    }
}
