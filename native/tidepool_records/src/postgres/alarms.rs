//! The statement that finds which alarms are due next.

use super::schema::{BY_SHARD, NAMESPACE};

/// One namespace after the other is looked for in an index, and then its first alarms, whosever they are, of which the owner's are taken.
/// Where too few of them are the owner's (any number that are due earlier may be others'), each of its shards is asked for the first one,
/// and those that have the earliest for as many as are wanted: no other has one that comes before these.
///
/// As long as there is no index by shards (`schema::index`), and a shard would look for its own among all, all are passed (`passed` is
/// NULL). Whether a shard is the owner's is asked by no join: that might begin with the shards, and pass all that is passed for each.
pub(super) fn statement() -> String {
    let of_namespace = format!("FROM tidepool.record r WHERE {NAMESPACE} = w.beginning AND r.alarm_at <= $1");
    format!(
        "WITH RECURSIVE turn(beginning) AS (
  (SELECT {NAMESPACE} FROM tidepool.record r WHERE r.alarm_at IS NOT NULL ORDER BY 1 LIMIT 1)
  UNION ALL
  SELECT (SELECT {NAMESPACE} FROM tidepool.record r WHERE r.alarm_at IS NOT NULL AND {NAMESPACE} > t.beginning ORDER BY 1 LIMIT 1)
  FROM turn t WHERE t.beginning IS NOT NULL
), wanted AS MATERIALIZED (
  SELECT t.beginning, m.most, CASE WHEN EXISTS (
    SELECT FROM pg_index i WHERE i.indexrelid = to_regclass('tidepool.{BY_SHARD}') AND i.indisvalid
  ) THEN greatest(m.most, $7::bigint) END AS passed
  FROM turn t CROSS JOIN LATERAL (
    SELECT $4::bigint + coalesce((SELECT m.more FROM unnest($5::bytea[], $6::bigint[]) m(beginning, more)
                                  WHERE m.beginning = t.beginning), 0) AS most) m
  WHERE t.beginning IS NOT NULL
), own AS MATERIALIZED (
  SELECT s.id FROM tidepool.shard s WHERE s.owner = $2 AND s.incarnation = $3
)
SELECT a.alarm_at, a.class, a.name FROM wanted w CROSS JOIN LATERAL (
  WITH found AS MATERIALIZED (
    SELECT p.alarm_at, p.class, p.name
    FROM (SELECT r.alarm_at, r.class, r.name, r.shard {of_namespace} ORDER BY r.alarm_at LIMIT w.passed) p
    WHERE (SELECT s.owner = $2 AND s.incarnation = $3 FROM tidepool.shard s WHERE s.id = p.shard)
    ORDER BY p.alarm_at LIMIT w.most)
  SELECT f.alarm_at, f.class, f.name FROM found f
  UNION
  SELECT r.alarm_at, r.class, r.name
  FROM (
    SELECT s.id FROM own s
    CROSS JOIN LATERAL (SELECT r.alarm_at {of_namespace} AND r.shard = s.id ORDER BY r.alarm_at LIMIT 1) f
    WHERE (SELECT count(*) FROM found) < w.most AND w.passed IS NOT NULL
      AND EXISTS (SELECT {of_namespace} ORDER BY r.alarm_at OFFSET w.passed - 1 LIMIT 1)
    ORDER BY f.alarm_at LIMIT w.most) s
  CROSS JOIN LATERAL (
    SELECT r.alarm_at, r.class, r.name {of_namespace} AND r.shard = s.id ORDER BY r.alarm_at LIMIT w.most) r
  ORDER BY 1 LIMIT w.most
) a ORDER BY a.alarm_at, a.class, a.name"
    )
}
