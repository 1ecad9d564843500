//! A partition's position, which guards every transaction.

use cartwright_events::Timestamp;
use cartwright_read_model::postgres::Micros;
use cartwright_read_model::{Position, PositionKey};
use deadpool_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::statements;
use crate::sink::SinkError;

/// When a partition was last written.
pub(super) async fn written_at(
    transaction: &Transaction<'_>,
    key: &PositionKey,
) -> Result<Option<Timestamp>, SinkError> {
    let statement = transaction.prepare_cached(statements::WRITTEN_AT).await?;
    let (version, partition) = (i64::from(key.version), i64::from(key.partition));
    let topic = key.stream.topic();
    let row = transaction
        .query_opt(&statement, &[&key.projection, &version, &topic, &partition])
        .await?;
    let time = row.map(|row| row.try_get::<_, Micros>(0)).transpose()?;
    Ok(time.map(|micros| micros.0))
}

/// Moves the position if it is where the batch expects it and, when the sink knows it, was written
/// then; answers when it is written now.
pub(super) async fn move_position(
    transaction: &Transaction<'_>,
    key: &PositionKey,
    expected: Option<Position>,
    known: Option<Timestamp>,
    next: Position,
) -> Result<Option<Timestamp>, SinkError> {
    let topic = key.stream.topic();
    let number = |value: u64| i64::try_from(value).map_err(SinkError::fatal);
    let (next_offset, seq) = (number(next.next_offset)?, number(next.seq)?);
    let (version, partition) = (i64::from(key.version), i64::from(key.partition));
    let generation = i64::from(next.generation);
    let (recorded_at, now) = (Micros(next.recorded_at), Micros(Timestamp::now()));
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![
        &key.projection,
        &version,
        &topic,
        &partition,
        &generation,
        &next_offset,
        &seq,
        &recorded_at,
        &now,
    ];
    let (old_generation, old_offset);
    let known = known.map(Micros);
    let statement = match expected {
        None => statements::FIRST_POSITION,
        Some(expected) => {
            old_generation = i64::from(expected.generation);
            old_offset = number(expected.next_offset)?;
            let of_the_old: [&(dyn ToSql + Sync); 3] = [&old_generation, &old_offset, &known];
            values.extend(of_the_old);
            statements::NEXT_POSITION
        }
    };
    let statement = transaction.prepare_cached(statement).await?;
    let moved = transaction.query_opt(&statement, &values).await?;
    let time = moved.map(|row| row.try_get::<_, Micros>(0)).transpose()?;
    Ok(time.map(|micros| micros.0))
}

/// Takes pointers off the list that point into the logs before `generation`.
pub(super) async fn forget_logs_before(
    transaction: &Transaction<'_>,
    key: &PositionKey,
    generation: u32,
) -> Result<(), SinkError> {
    let statement = transaction
        .prepare_cached(statements::PARKED_BEFORE)
        .await?;
    let [version, partition, generation] = [key.version, key.partition, generation].map(i64::from);
    let topic = key.stream.topic();
    let values: [&(dyn ToSql + Sync); 5] =
        [&key.projection, &version, &topic, &partition, &generation];
    transaction.execute(&statement, &values).await?;
    Ok(())
}
