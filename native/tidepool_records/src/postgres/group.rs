//! A group of changes, committed in one transaction: what is there is read at once, and what comes of it is written at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::changes::{Group, Written};
use super::connector::Connector;
use super::erase::erase;
use super::failure::{is_fatal, late, said};
use super::{gone, read, schema};
use crate::lease::Owner;
use crate::record::{AT_ONCE, CROWD, Change, Crowd, Job, Key, Mark, StoreError, Total, begins, gone_mark, xor};

/// How long each of the two steps may take.
const STEP: Duration = Duration::from_secs(10);
/// A group of more bytes may be on its way for as long as that.
const LARGE: usize = 1 << 20;

// No other transaction of this node's writes to these shards meanwhile either: one whose connection was lost may still be under way.
const FENCE: &str = "
SELECT id, epoch, owner IS NOT DISTINCT FROM $2 AND incarnation IS NOT DISTINCT FROM $3
FROM tidepool.shard WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE";
const TALLIES: &str = "SELECT shard, records, sum FROM tidepool.tally WHERE shard = ANY($1) ORDER BY shard";
const ROWS: &str = "
SELECT k.at, r.id, r.epoch, r.seq, r.alarm_at, r.head, r.links, r.chain, r.bytes, r.mark
FROM unnest($1::smallint[], $2::bytea[], $3::bytea[]) WITH ORDINALITY k(shard, class, name, at)
JOIN tidepool.record r ON r.shard = k.shard AND r.class = k.class AND r.name = k.name";
const MARKS: &str = "SELECT shard, mark FROM tidepool.record WHERE shard = ANY($1)";
const CROWDS: &str = "
SELECT g.at, (SELECT count(*) FROM tidepool.record r WHERE r.shard = g.shard AND r.class >= g.first AND r.class < g.after
              AND (g.head IS NULL OR r.head >= g.head AND r.head < g.beyond))
FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[])
  WITH ORDINALITY g(shard, first, after, head, beyond, at)";
const ALL: &str = "SELECT coalesce(sum(records), 0)::bigint FROM tidepool.tally";
const IDS: &str = "SELECT nextval('tidepool.record_id') FROM generate_series(1, $1::bigint)";

const CUT: &str = "
DELETE FROM tidepool.image i USING unnest($1::bigint[], $2::smallint[]) g(record, link)
WHERE i.record = g.record AND i.link >= g.link";
const DROP_VALUE: &str = "
DELETE FROM tidepool.value v USING unnest($1::bigint[], $2::bytea[]) g(record, key) WHERE v.record = g.record AND v.key = g.key";
const DROP: &str = "
DELETE FROM tidepool.record r USING unnest($1::smallint[], $2::bytea[], $3::bytea[]) g(shard, class, name)
WHERE r.shard = g.shard AND r.class = g.class AND r.name = g.name";
const PUT: &str = "
INSERT INTO tidepool.record
SELECT * FROM unnest($1::smallint[], $2::bytea[], $3::bytea[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::bytea[], $9::smallint[], $10::bytea[], $11::bigint[], $12::bytea[])
ON CONFLICT (shard, class, name) DO UPDATE SET id = excluded.id, epoch = excluded.epoch, seq = excluded.seq,
  alarm_at = excluded.alarm_at, head = excluded.head, links = excluded.links, chain = excluded.chain,
  bytes = excluded.bytes, mark = excluded.mark";
const PUT_IMAGE: &str = "
INSERT INTO tidepool.image SELECT * FROM unnest($1::bigint[], $2::smallint[], $3::bytea[])
ON CONFLICT (record, link) DO UPDATE SET bytes = excluded.bytes";
const PUT_VALUE: &str = "
INSERT INTO tidepool.value SELECT * FROM unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::bytea[])
ON CONFLICT (record, key) DO UPDATE SET value = excluded.value, mark = excluded.mark";
const TALLY: &str = "
INSERT INTO tidepool.tally SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
ON CONFLICT (shard) DO UPDATE SET records = excluded.records, sum = excluded.sum";

macro_rules! statements {
    ($($name:ident = $sql:expr),* $(,)?) => {
        /// The session that writes, with its statements.
        pub(super) struct Session {
            pub(super) client: Client,
            total: Total,
            $($name: Statement,)*
        }

        impl Session {
            /// A session that writes.
            ///
            /// # Errors
            /// When the database is away, or its tables are not those that are known here.
            pub(super) async fn new(connector: &Connector) -> Result<Self, StoreError> {
                // The database does not end its statements: it would end a commit that waits for a copy, and say that it was made.
                let client = connector.connect(0).await?;
                schema::checked(&client).await?;
                let ($($name,)*) = tokio::try_join!($(client.prepare($sql),)*)?;
                Ok(Session { client, total: Total::default(), $($name,)* })
            }
        }
    };
}

statements! {
    fence = FENCE, tallies = TALLIES, rows = ROWS, marks = MARKS, crowds = CROWDS, all = ALL, ids = IDS,
    cut = CUT, drop_values = gone::DELETE, leave = gone::LEAVE, drop_images = gone::DELETE_LITTLE, leave_images = gone::LEAVE_IMAGES,
    drop_value = DROP_VALUE, drop_rows = DROP,
    put = PUT, put_image = PUT_IMAGE, put_value = PUT_VALUE, tally = TALLY,
}

/// What is put into a statement.
type Parameters<'a, const N: usize> = [&'a (dyn ToSql + Sync); N];
/// A column of many rows.
type Column<'a> = Box<dyn ToSql + Sync + 'a>;
/// Statements with what is to be put in, in the order in which they are to be executed.
type Statements<'s, 'a> = Vec<(&'s Statement, Vec<Column<'a>>)>;

impl Session {
    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Commits the changes that may be made; for each whether it was. Those at the end of which nothing is said are left for another
    /// transaction. When one says anything else than that it is refused, the session is not to be used any more.
    pub(super) async fn commit(&self, owner: &Owner, jobs: &[Job]) -> Vec<Result<(), StoreError>> {
        let begin = begin(jobs);
        let read = timeout(STEP, self.read(Some(&begin), owner, jobs)).await;
        let counted = match read.unwrap_or_else(|_late| Err(late(STEP))) {
            Ok(mut group) => {
                let counted = timeout(STEP, self.count(&mut group, jobs)).await;
                counted.unwrap_or_else(|_late| Err(late(STEP))).map(|()| group)
            }
            Err(error) => Err(error),
        };
        let mut group = match counted {
            Ok(group) => group,
            // The transaction ends with the session.
            Err(error) => return vec![Err(error); jobs.len()],
        };
        let jobs = jobs.get(..group.at_once(jobs)).unwrap_or(jobs);
        let outcomes: Vec<_> = jobs.iter().map(|job| group.apply(&job.key, &job.change)).collect();
        let written = timeout(STEP, self.write(&group.written())).await;
        match written.unwrap_or_else(|_late| Err(unanswered())) {
            Ok(()) => outcomes,
            Err(error) => outcomes.into_iter().map(|outcome| outcome.and(Err(error.clone()))).collect(),
        }
    }

    /// Commits that there is nothing left of a record. As for [`Session::commit`].
    pub(super) async fn erase(&self, owner: &Owner, key: &Key, epoch: u64) -> Result<(), StoreError> {
        let erased = async {
            self.client.batch_execute("BEGIN").await?;
            erase(&self.client, owner, key, epoch).await
        };
        // The transaction ends with the session.
        let Ok(erased) = timeout(STEP, erased).await else { return Err(late(STEP)) };
        let end = if erased.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = timeout(STEP, self.client.batch_execute(end)).await;
        erased.and(ended.map_or_else(|_late| Err(unanswered()), |ended| ended.map_err(|error| unknown(&error))))
    }

    /// Makes changes within a transaction that has begun, all of them.
    ///
    /// # Errors
    /// Why one can't be made: then nothing is to be committed.
    pub(super) async fn within(&self, owner: &Owner, jobs: &[Job]) -> Result<(), StoreError> {
        let made = async {
            let mut group = self.read(None, owner, jobs).await?;
            jobs.iter().try_for_each(|job| group.apply(&job.key, &job.change))?;
            let written = group.written();
            let statements = self.statements(&written);
            let executed = join_all(statements.iter().map(|(statement, columns)| self.execute(statement, columns)));
            executed.await.into_iter().try_for_each(|outcome| outcome.map(drop).map_err(StoreError::from))
        };
        timeout(STEP, made).await.unwrap_or_else(|_late| Err(late(STEP)))
    }

    /// Begins the transaction, if it is to begin: holds the shards as they are, and reads what there is.
    async fn read<'a>(&self, begin: Option<&str>, owner: &Owner, jobs: &'a [Job]) -> Result<Group<'a>, StoreError> {
        let client = &self.client;
        let keys: Vec<&Key> = jobs.iter().map(|job| &job.key).collect::<BTreeSet<_>>().into_iter().collect();
        let shards: Vec<i16> = keys.iter().map(|key| read::shard(key)).collect();
        let each: Vec<i16> = shards.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        let classes: Vec<&[u8]> = keys.iter().map(|key| key.class.as_bytes()).collect();
        let names: Vec<&[u8]> = keys.iter().map(|key| key.name.as_bytes()).collect();
        let begun = async {
            match begin {
                Some(begin) => client.batch_execute(begin).await,
                None => Ok(()),
            }
        };
        let fence: Parameters<'_, 3> = [&each, &owner.node, &owner.incarnation];
        let (tallies, rows): (Parameters<'_, 1>, Parameters<'_, 3>) = ([&each], [&shards, &classes, &names]);
        let (_begun, owned, tallies, rows) = tokio::try_join!(
            biased;
            begun,
            client.query(&self.fence, &fence),
            client.query(&self.tallies, &tallies),
            client.query(&self.rows, &rows),
        )?;
        let mut group = Group::default();
        for row in &owned {
            group.owned.insert(row.try_get(0)?, (row.try_get::<_, i64>(1)?.cast_unsigned(), row.try_get(2)?));
        }
        for row in &tallies {
            group.tallies.insert(row.try_get(0)?, (row.try_get(1)?, read::mark(row, 2)?.unwrap_or_default()));
        }
        for row in &rows {
            let at = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
            if let Some(key) = at.checked_sub(1).and_then(|at| keys.get(at)) {
                group.before.insert(*key, read::row(row, 1, key));
            }
        }
        let absent: BTreeSet<i16> =
            keys.iter().filter(|key| !group.before.contains_key(*key)).map(|key| read::shard(key)).collect();
        // One that is there may be gone within the group, and begin again; and one that is reset has another id.
        let begin = jobs.iter().filter(|job| begins(&job.change) || matches!(job.change, Change::Reset(_))).count();
        if !absent.is_empty() || begin > 0 {
            self.look_around(&mut group, absent.into_iter().collect(), begin).await?;
        }
        Ok(group)
    }

    /// Counts what is in the shards of records that are new, where these have many.
    async fn count(&self, group: &mut Group<'_>, jobs: &[Job]) -> Result<(), StoreError> {
        let is_new = |job: &Job| begins(&job.change) && !group.before.contains_key(&job.key);
        let mut new: BTreeMap<i16, u64> = BTreeMap::new();
        for job in jobs.iter().filter(|job| is_new(job)) {
            *new.entry(read::shard(&job.key)).or_default() += 1;
        }
        // With those of the group, which count as well.
        let many = |shard: &i16| {
            let before = group.tallies.get(shard).map_or(0, |(records, _sum)| records.cast_unsigned());
            before.saturating_add(new.get(shard).copied().unwrap_or(0)) > CROWD
        };
        let crowds: BTreeSet<(i16, Crowd)> = jobs
            .iter()
            .filter(|job| is_new(job))
            .filter_map(|job| Some((read::shard(&job.key), Crowd::of(&job.key, &job.change.record()?.head))))
            .filter(|(shard, _crowd)| many(shard))
            .collect();
        if crowds.is_empty() {
            return Ok(());
        }
        let each: Vec<&(i16, Crowd)> = crowds.iter().collect();
        let shards: Vec<i16> = each.iter().map(|(shard, _crowd)| *shard).collect();
        let (from, to): (Vec<_>, Vec<_>) = each.iter().map(|(_, crowd)| <(_, _)>::from(crowd.ends())).unzip();
        let (head, beyond): (Vec<_>, Vec<_>) = each.iter().map(|(_, crowd)| <(_, _)>::from(crowd.heads())).unzip();
        let parameters: Parameters<'_, 5> = [&shards, &from, &to, &head, &beyond];
        let rows = self.client.query(&self.crowds, &parameters).await?;
        for row in &rows {
            let at = usize::try_from(row.try_get::<_, i64>(0)?).unwrap_or(0);
            if let Some(crowd) = at.checked_sub(1).and_then(|at| each.get(at)) {
                group.crowds.insert((*crowd).clone(), row.try_get::<_, i64>(1)?.cast_unsigned());
            }
        }
        let begun = jobs.iter().filter(|job| is_new(job)).count() as u64;
        if group.crowds.values().any(|records| records.saturating_add(begun) > CROWD) {
            if let Some(all) = self.total.known() {
                group.all = all;
            } else {
                group.all = self.client.query_one(&self.all, &[]).await?.try_get::<_, i64>(0)?.cast_unsigned();
                self.total.learn(group.all);
            }
        }
        Ok(())
    }

    /// Looks whether records that were not found were never there, and fetches ids for those that begin.
    async fn look_around(&self, group: &mut Group<'_>, absent: Vec<i16>, begin: usize) -> Result<(), StoreError> {
        let begin = i64::try_from(begin).unwrap_or(i64::MAX);
        let mut found: BTreeMap<i16, (i64, Mark)> = BTreeMap::new();
        let marks = read::each(&self.client, &self.marks, &absent, |row| {
            let (records, sum) = found.entry(row.try_get(0)?).or_default();
            *records += 1;
            *sum = xor(*sum, read::mark(row, 1)?.unwrap_or_default());
            Ok(())
        });
        let fetch: Parameters<'_, 1> = [&begin];
        let ids = async { Ok(self.client.query(&self.ids, &fetch).await?) };
        let ((), ids) = tokio::try_join!(biased; marks, ids)?;
        let amiss = |shard: &i16| {
            found.get(shard).copied().unwrap_or_default() != group.tallies.get(shard).copied().unwrap_or_default()
        };
        group.broken = absent.into_iter().filter(amiss).collect();
        group.ids = ids.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// Writes what a group comes to, and ends the transaction.
    async fn write(&self, written: &Written<'_>) -> Result<(), StoreError> {
        let statements = self.statements(written);
        let executed = join_all(statements.iter().map(|(statement, columns)| self.execute(statement, columns)));
        // All of them are on their way before the first is answered. One that fails has the last one roll back.
        let (executed, ended) = tokio::join!(biased; executed, self.client.batch_execute("COMMIT"));
        for outcome in executed {
            if let Err(error) = outcome {
                return Err(if error.as_db_error().is_some() { error.into() } else { unknown(&error) });
            }
        }
        ended.map_err(|error| {
            // Whoever is told that the database shuts down is not told what has become of the commit.
            if error.as_db_error().is_some() && !is_fatal(&error) { error.into() } else { unknown(&error) }
        })
    }

    async fn execute(&self, statement: &Statement, columns: &[Column<'_>]) -> Result<u64, Error> {
        let columns: Vec<&(dyn ToSql + Sync)> = columns.iter().map(|column| &**column as _).collect();
        self.client.execute(statement, &columns).await
    }

    fn statements<'s, 'a>(&'s self, written: &'a Written<'_>) -> Statements<'s, 'a> {
        let Written { rows, gone, tallies, writes } = written;
        let mut statements: Statements<'s, 'a> = Vec::new();
        macro_rules! execute {
            ($statement:ident, $many:expr, $($column:expr),*) => {
                if !$many.is_empty() {
                    statements.push((&self.$statement, vec![$(Box::new($many.iter().map($column).collect::<Vec<_>>())),*]));
                }
            };
        }
        let (there, away) = writes.split_values();
        execute!(cut, writes.cut, |(id, _)| *id, |(_, from)| *from);
        if !writes.gone.is_empty() {
            let ids: Vec<i64> = writes.gone.iter().map(|(id, _namespace)| *id).collect();
            let [rows, bytes] = gone::numbers(AT_ONCE);
            statements.push((&self.drop_values, vec![Box::new(ids.clone()), Box::new(rows), Box::new(bytes)]));
            statements.push((&self.drop_images, vec![Box::new(ids), Box::new(bytes)]));
        }
        execute!(leave, writes.gone, |(id, _)| *id, |(_, namespace)| namespace.as_bytes(), |(id, namespace)| {
            gone_mark(*id, namespace.as_bytes()).to_vec()
        });
        execute!(leave_images, writes.gone, |(id, _)| *id, |(_, namespace)| namespace.as_bytes(), |(id, namespace)| {
            gone_mark(*id, namespace.as_bytes()).to_vec()
        });
        execute!(drop_value, away, |(id, _)| *id, |(_, key)| *key);
        execute!(drop_rows, gone, |key| read::shard(key), |key| key.class.as_bytes(), |key| key.name.as_bytes());
        execute!(
            put,
            rows,
            |(key, _, _)| read::shard(key),
            |(key, _, _)| key.class.as_bytes(),
            |(key, _, _)| key.name.as_bytes(),
            |(_, row, _)| row.id,
            |(_, row, _)| row.epoch.cast_signed(),
            |(_, row, _)| row.seq.cast_signed(),
            |(_, row, _)| row.alarm_at,
            |(_, row, _)| row.head.as_slice(),
            |(_, row, _)| i16::try_from(row.links).unwrap_or(i16::MAX),
            |(_, row, _)| row.chain.as_ref().map(Mark::as_slice),
            |(_, row, _)| row.bytes.cast_signed(),
            |(_, _, mark)| mark.as_slice()
        );
        execute!(put_image, writes.images, |((id, _), _)| *id, |((_, link), _)| *link, |(_, bytes)| &***bytes);
        execute!(put_value, there, |it| it.0, |it| it.1, |it| it.2, |it| it.3.to_vec());
        execute!(tally, tallies, |(shard, _)| *shard, |(_, (records, _))| *records, |(_, (_, sum))| sum.as_slice());
        statements
    }
}

/// How the transaction of a group begins. What is long on its way must not look like a node that stands still.
fn begin(jobs: &[Job]) -> String {
    let common = jobs.iter().any(|job| job.key.class.is_empty());
    let begin = if common { schema::BEGIN_COMMON } else { "BEGIN" };
    if jobs.iter().map(|job| job.change.written()).sum::<usize>() <= LARGE {
        return begin.into();
    }
    format!("{begin}; SET LOCAL idle_in_transaction_session_timeout = '{}s'", STEP.as_secs())
}

/// It has not said whether a transaction is committed.
fn unanswered() -> StoreError {
    StoreError::Unknown(format!("it has not answered within {} s", STEP.as_secs()).into())
}

fn unknown(error: &Error) -> StoreError {
    StoreError::Unknown(said(error).into())
}
