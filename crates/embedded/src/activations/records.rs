//! What is asked of one file of records, in SQL.

use chasen_entity::{ActivationId, Millis};
use chasen_spi::ActivationQuery;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::segment::{Bounds, Key};
use super::tail::{Entry, Source, TailRecord};
use super::tally;
use crate::sqlite::{Migrations, integer, unsigned};

/// Schema of a file.
pub(crate) const MIGRATIONS: Migrations = &["
    CREATE TABLE records (
        id BLOB NOT NULL UNIQUE, namespace TEXT NOT NULL, name TEXT NOT NULL, start INTEGER NOT NULL, body BLOB NOT NULL
    );
    CREATE INDEX records_of_namespace ON records (namespace, start, id);
    CREATE INDEX records_of_name ON records (namespace, name, start, id);
    CREATE TABLE bounds (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        first_id BLOB NOT NULL, last_id BLOB NOT NULL, first_start INTEGER NOT NULL, last_start INTEGER NOT NULL
    );
", "
    ALTER TABLE records ADD COLUMN cause BLOB;
    CREATE INDEX records_of_cause ON records (namespace, cause, start, id) WHERE cause IS NOT NULL;
    CREATE TABLE tallies (
        namespace TEXT NOT NULL, name TEXT NOT NULL, span INTEGER NOT NULL, records INTEGER NOT NULL,
        PRIMARY KEY (namespace, name, span)
    ) WITHOUT ROWID;
    INSERT INTO tallies SELECT namespace, '', start >> 15, count(*) FROM records GROUP BY 1, 3;
    INSERT INTO tallies SELECT namespace, name, start >> 15, count(*) FROM records GROUP BY 1, 2, 3;
"];

/// The record of this id, as JSON, if it belongs to the namespace.
pub(super) fn body(
    connection: &Connection,
    namespace: Option<&str>,
    id: &ActivationId,
) -> rusqlite::Result<Option<Vec<u8>>> {
    connection
        .prepare_cached("SELECT body FROM records WHERE id = ?1 AND namespace = ifnull(?2, namespace)")?
        .query_row(params![id.to_bytes(), namespace], |row| row.get(0))
        .optional()
}

/// Writes records. One that is there already gets the new body.
pub(super) fn put(transaction: &Transaction<'_>, records: &[&TailRecord]) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO records (id, namespace, name, start, body, cause) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (id) DO NOTHING",
    )?;
    let mut update = transaction.prepare_cached("UPDATE records SET body = ?2 WHERE id = ?1")?;
    let mut tallies = tally::Changes::default();
    for record in records {
        let Source::Logged(slice) = &record.source else { continue };
        let Entry { id, start, cause, namespace, name } = &record.entry;
        let (namespace, cause) = (namespace.as_str(), cause.map(|cause| cause.to_bytes()));
        let row = params![id.to_bytes(), namespace, name, integer(*start), slice.bytes(), cause];
        if insert.execute(row)? == 1 {
            tallies.add(namespace, name, *start);
        } else {
            // A record that is written again, from before a crash or with its logs, keeps its place in lists.
            update.execute(params![id.to_bytes(), slice.bytes()])?;
        }
    }
    tallies.write(transaction)
}

/// Writes between what all records lie.
pub(super) fn put_bounds(transaction: &Transaction<'_>, bounds: &Bounds) -> rusqlite::Result<()> {
    let Bounds { first_id, last_id, first_start, last_start } = bounds;
    transaction
        .prepare_cached("INSERT OR REPLACE INTO bounds VALUES (1, ?1, ?2, ?3, ?4)")?
        .execute(params![
            first_id.to_bytes(),
            last_id.to_bytes(),
            integer(*first_start),
            integer(*last_start)
        ])
        .map(drop)
}

/// True if there is a record of this id.
pub(super) fn holds(connection: &Connection, id: &ActivationId) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM records WHERE id = ?1)")?
        .query_row([id.to_bytes()], |row| row.get(0))
}

/// How many records match and started between two times, both inclusive, counted one by one.
pub(super) fn count_in_index(
    connection: &Connection,
    query: &ActivationQuery,
    since: Millis,
    upto: Millis,
) -> rusqlite::Result<u64> {
    let cause = query.cause.map(|cause| cause.to_bytes());
    connection
        .prepare_cached(&count_text(query))?
        .query_row(params![query.namespace, query.name, cause, integer(since), integer(upto)], |row| {
            row.get(0).map(unsigned)
        })
}

fn count_text(query: &ActivationQuery) -> String {
    format!("SELECT count(*) FROM records {} AND start BETWEEN ?4 AND ?5", matching(query))
}

/// Keys of records that match and come after this one in a list, newest first, at most this many.
pub(super) fn keys(
    connection: &Connection,
    query: &ActivationQuery,
    after: Key,
    most: usize,
) -> rusqlite::Result<Vec<Key>> {
    let mut statement = connection.prepare_cached(&keys_text(query))?;
    let since = integer(query.since.unwrap_or(0));
    let (start, id) = (integer(after.0), after.1.to_bytes());
    let (cause, most) = (query.cause.map(|cause| cause.to_bytes()), integer(most as u64));
    let row = |row: &Row<'_>| Ok((unsigned(row.get(0)?), ActivationId::from_bytes(row.get(1)?)));
    let rows =
        statement.query_map(params![query.namespace, query.name, cause, since, start, id, most], row)?;
    rows.collect()
}

fn keys_text(query: &ActivationQuery) -> String {
    format!(
        "SELECT start, id FROM records {} AND start >= ?4 AND (start, id) < (?5, ?6)
         ORDER BY start DESC, id DESC LIMIT ?7",
        matching(query)
    )
}

/// The index and the condition for namespace `?1`, name `?2` and cause `?3`, all used, those not asked for as nothing.
/// Which index is best SQLite cannot know: a cause is had by few.
fn matching(query: &ActivationQuery) -> &'static str {
    match (query.name.is_some(), query.cause.is_some()) {
        (false, false) => {
            "INDEXED BY records_of_namespace WHERE namespace = ?1 AND ?2 IS NULL AND ?3 IS NULL"
        }
        (true, false) => "INDEXED BY records_of_name WHERE namespace = ?1 AND name = ?2 AND ?3 IS NULL",
        (false, true) => "INDEXED BY records_of_cause WHERE namespace = ?1 AND ?2 IS NULL AND cause = ?3",
        (true, true) => "INDEXED BY records_of_cause WHERE namespace = ?1 AND name = ?2 AND cause = ?3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite;

    fn queries() -> [ActivationQuery; 4] {
        let all = ActivationQuery { namespace: "guest".to_owned(), ..ActivationQuery::default() };
        let name = Some("a".to_owned());
        let cause = Some(ActivationId::from_bytes([7; 16]));
        [
            all.clone(),
            ActivationQuery { name: name.clone(), ..all.clone() },
            ActivationQuery { cause, ..all.clone() },
            ActivationQuery { name, cause, ..all },
        ]
    }

    #[test]
    fn every_query_walks_its_own_index_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let connection = sqlite::open(&folder.path().join("x.db"), MIGRATIONS).unwrap();
        let expected = [
            "COVERING INDEX records_of_namespace (namespace=? AND start",
            "COVERING INDEX records_of_name (namespace=? AND name=? AND start",
            "COVERING INDEX records_of_cause (namespace=? AND cause=? AND start",
            "INDEX records_of_cause (namespace=? AND cause=? AND start",
        ];
        for (query, expected) in queries().iter().zip(expected) {
            for text in [keys_text(query), count_text(query)] {
                let plan = sqlite::tests::plan(&connection, &text);
                assert!(plan.contains(expected) && !plan.contains("TEMP"), "{text}: {plan}");
            }
        }
    }

    #[test]
    fn files_of_the_first_version_grow() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        let first = sqlite::open(&path, &MIGRATIONS[..1]).unwrap();
        for number in 0..100u8 {
            let (name, start) = (["a", "pkg/b"][usize::from(number % 2)], i64::from(number) * 1000);
            first
                .execute(
                    "INSERT INTO records VALUES (?1, 'guest', ?2, ?3, '{}')",
                    params![[number; 16], name, start],
                )
                .unwrap();
        }
        drop(first);
        let connection = sqlite::open(&path, MIGRATIONS).unwrap();
        let [all, named, caused, _] = queries();
        let in_index = |query: &ActivationQuery| count_in_index(&connection, query, 0, u64::MAX).unwrap();
        assert_eq!([in_index(&all), in_index(&named), in_index(&caused)], [100, 50, 0]);
        for (query, expected) in [
            (all.clone(), 100),
            (named.clone(), 50),
            (ActivationQuery { since: Some(10_000), upto: Some(80_000), ..all.clone() }, 71),
            (ActivationQuery { since: Some(10_001), upto: Some(79_999), ..named }, 34),
            (ActivationQuery { namespace: "other".to_owned(), ..all.clone() }, 0),
        ] {
            let one_by_one = |since, upto| count_in_index(&connection, &query, since, upto);
            assert_eq!(
                super::super::tally::count(&connection, &query, one_by_one).unwrap(),
                expected,
                "{query:?}"
            );
        }
        let end = (u64::MAX, ActivationId::from_bytes([0; 16]));
        let newest = keys(&connection, &all, end, 2).unwrap();
        assert_eq!(newest.iter().map(|(start, _)| *start).collect::<Vec<_>>(), [99_000, 98_000]);
    }
}
