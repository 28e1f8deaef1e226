//! Which alarms are due next.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, params};

use super::schema::NAMESPACE;
use crate::lease::Owner;
use crate::record::{Key, MostOfEach, PASSED, StoreError};

/// Has the first alarms of a namespace in a shard found without a look at those in other shards: of files that have owners.
pub(crate) fn index() -> String {
    format!(
        "CREATE INDEX IF NOT EXISTS record_due ON record ({NAMESPACE}, shard, alarm_at) WHERE alarm_at IS NOT NULL;"
    )
}

/// Alarms that are due until then, the earliest of each namespace first: as many of one as it gets. With an owner only those in its
/// shards.
pub(super) fn alarms(
    connection: &Connection,
    owner: Option<&Owner>,
    until: i64,
    most: &MostOfEach,
) -> Result<Vec<(i64, Key)>, StoreError> {
    let next = format!(
        "SELECT {NAMESPACE} FROM record WHERE alarm_at IS NOT NULL AND {NAMESPACE} >= ? ORDER BY {NAMESPACE} LIMIT 1"
    );
    let mut next = connection.prepare_cached(&next)?;
    let shards = owner.map(|owner| shards(connection, owner)).transpose()?;
    let mut found = Vec::new();
    let mut from = String::new();
    while let Some(beginning) = next.query_row([&from], |row| row.get::<_, String>(0)).optional()? {
        let wanted = Wanted { beginning: &beginning, until, limit: most.of(&beginning) };
        found.append(&mut match &shards {
            None => wanted.in_order(connection, wanted.limit, |_shard| true)?.0,
            Some(shards) => wanted.of_owner(connection, shards)?,
        });
        // Nothing comes between the two.
        from = beginning + "\0";
    }
    found.sort();
    Ok(found)
}

fn shards(connection: &Connection, owner: &Owner) -> Result<BTreeSet<u16>, StoreError> {
    let mut select = connection.prepare_cached("SELECT shard FROM owner WHERE node = ? AND incarnation = ?")?;
    let shards = select.query_map(params![owner.node, owner.incarnation], |row| row.get(0))?;
    Ok(shards.collect::<Result<_, _>>()?)
}

/// Alarms of one namespace.
struct Wanted<'a> {
    /// What its classes begin with.
    beginning: &'a str,
    until: i64,
    limit: usize,
}

impl Wanted<'_> {
    fn of_owner(&self, connection: &Connection, shards: &BTreeSet<u16>) -> Result<Vec<(i64, Key)>, StoreError> {
        let passed = PASSED.max(self.limit);
        let (found, looked_at) = self.in_order(connection, passed, |shard| shards.contains(&shard))?;
        if found.len() == self.limit || looked_at < passed {
            return Ok(found);
        }
        self.by_shard(connection, shards)
    }

    /// Those in some shards, of the first that there are. And how many were looked at.
    fn in_order(
        &self,
        connection: &Connection,
        passed: usize,
        is_wanted: impl Fn(u16) -> bool,
    ) -> Result<(Vec<(i64, Key)>, usize), StoreError> {
        let sql = format!(
            "SELECT alarm_at, class, name, shard FROM record WHERE {NAMESPACE} = ? AND alarm_at <= ?
             ORDER BY alarm_at LIMIT ?"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let mut rows = select.query(params![self.beginning, self.until, passed])?;
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while found.len() < self.limit
            && let Some(row) = rows.next()?
        {
            looked_at += 1;
            if is_wanted(row.get(3)?) {
                found.push((row.get(0)?, Key { class: row.get(1)?, name: row.get(2)? }));
            }
        }
        Ok((found, looked_at))
    }

    /// The first of all that are in some shards, however many are in others.
    fn by_shard(&self, connection: &Connection, shards: &BTreeSet<u16>) -> Result<Vec<(i64, Key)>, StoreError> {
        let sql = format!(
            "SELECT alarm_at, class, name FROM record WHERE {NAMESPACE} = ? AND shard = ? AND alarm_at <= ?
             ORDER BY alarm_at LIMIT ?"
        );
        let mut select = connection.prepare_cached(&sql)?;
        let mut found = BTreeSet::new();
        for shard in shards {
            // None that is due after all that are found already.
            let until = found.last().filter(|_last| found.len() >= self.limit).map_or(self.until, |(at, _key)| *at);
            let rows = select.query_map(params![self.beginning, shard, until, self.limit], |row| {
                Ok((row.get(0)?, Key { class: row.get(1)?, name: row.get(2)? }))
            })?;
            for row in rows {
                found.insert(row?);
                if found.len() > self.limit {
                    found.pop_last();
                }
            }
        }
        Ok(found.into_iter().collect())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::record::SHARDS;

    /// A file that has owners: of every third shard each.
    fn file() -> (tempfile::TempDir, Connection) {
        let (folder, connection) = crate::sqlite::schema::new_file();
        connection
            .execute_batch("CREATE TABLE owner (shard INTEGER PRIMARY KEY, epoch, node TEXT, incarnation)")
            .unwrap();
        connection.execute_batch(&index()).unwrap();
        let mut own = connection.prepare("INSERT INTO owner VALUES (?, 1, ?, 1)").unwrap();
        for shard in 0..SHARDS {
            own.execute(params![shard, ["a", "b", "c"].get(usize::from(shard % 3))]).unwrap();
        }
        drop(own);
        (folder, connection)
    }

    fn owner(node: &str) -> Owner {
        Owner { node: node.into(), incarnation: 1 }
    }

    /// Has alarms of a class in a shard, due at these times.
    fn set(connection: &Connection, class: &str, shard: u16, times: impl Iterator<Item = i64>) {
        let sql = "INSERT INTO record (shard, class, name, id, epoch, seq, alarm_at, head, links, chain, bytes, mark)
                   VALUES (?, ?, ?, 1, 1, 1, ?, x'', 0, NULL, 0, x'')";
        let mut insert = connection.prepare_cached(sql).unwrap();
        for at in times {
            insert.execute(params![shard, class, format!("{shard} {at}"), at]).unwrap();
        }
    }

    #[test]
    fn any_number_of_alarms_in_shards_of_others_are_passed_in_as_many_steps() {
        let (_folder, mut connection) = file();
        connection.execute_batch("BEGIN").unwrap();
        let steps = |connection: &mut Connection| {
            let counted = Arc::new(AtomicU64::new(0));
            let count = Arc::clone(&counted);
            connection
                .progress_handler(
                    100,
                    Some(move || {
                        count.fetch_add(100, Ordering::Relaxed);
                        false
                    }),
                )
                .unwrap();
            let most = MostOfEach::new(17, []);
            let found = alarms(connection, Some(&owner("b")), i64::MAX, &most).unwrap();
            connection.progress_handler(0, None::<fn() -> bool>).unwrap();
            (counted.load(Ordering::Relaxed), found)
        };
        // All are in shards of the first node, but for the last one.
        set(&connection, "one/c", 1, std::iter::once(1_000_000));
        set(&connection, "two/c", 4, std::iter::once(5));
        (0..4_000)
            .for_each(|at| set(&connection, "one/c", 3 * u16::try_from(at % 1_000).unwrap(), std::iter::once(at)));
        let (few, found) = steps(&mut connection);
        assert_eq!(found.iter().map(|(at, _key)| *at).collect::<Vec<_>>(), [5, 1_000_000]);
        (4_000..60_000)
            .for_each(|at| set(&connection, "one/c", 3 * u16::try_from(at % 1_000).unwrap(), std::iter::once(at)));
        let (many, found) = steps(&mut connection);
        assert_eq!(found.iter().map(|(at, _key)| *at).collect::<Vec<_>>(), [5, 1_000_000]);
        assert!(many < few + few / 4, "{few} steps with a few thousand, and {many} with many more");
    }

    #[test]
    fn alarms_of_an_owner_are_the_earliest_of_its_shards_wherever_others_are() {
        let (_folder, connection) = file();
        // Those of others come first, and then all in turns.
        let mut of_b: Vec<i64> = Vec::new();
        for shard in 0..300_u16 {
            let from = if shard % 3 == 1 { 10_000 } else { 0 };
            let times: Vec<i64> =
                (0..8).map(|nth| from + i64::from(shard.wrapping_mul(7_919) % 500) * 8 + nth).collect();
            if shard % 3 == 1 {
                of_b.extend(&times);
            }
            set(&connection, "one/c", shard, times.into_iter());
        }
        of_b.sort_unstable();
        for (limit, until) in [(1, i64::MAX), (17, i64::MAX), (5_000, i64::MAX), (40, 11_000)] {
            let found = alarms(&connection, Some(&owner("b")), until, &MostOfEach::new(limit, [])).unwrap();
            let expected: Vec<i64> = of_b.iter().copied().filter(|at| *at <= until).take(limit).collect();
            assert_eq!(found.iter().map(|(at, _key)| *at).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_first_alarms_of_a_shard_are_found_in_an_index() {
        let (_folder, connection) = file();
        let plan = |sql: &str| {
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let rows = explained.query_map([], |row| row.get::<_, String>(3)).unwrap();
            rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
        };
        let first = plan(&format!(
            "SELECT alarm_at, class, name FROM record WHERE {NAMESPACE} = 'one/' AND shard = 7 AND alarm_at <= 9 ORDER BY alarm_at LIMIT 3"
        ));
        assert!(first.contains("record_due") && !first.contains("TEMP B-TREE"), "{first}");
        let all = plan(&format!(
            "SELECT alarm_at, class, name, shard FROM record WHERE {NAMESPACE} = 'one/' AND alarm_at <= 9 ORDER BY alarm_at LIMIT 3"
        ));
        assert!(all.contains("record_turn") && !all.contains("TEMP B-TREE"), "{all}");
    }
}
