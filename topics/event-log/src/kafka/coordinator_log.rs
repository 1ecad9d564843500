//! What the transaction coordinator has written down about an id: how its transactions were to end.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Buf;

use super::cluster::Cluster;
use super::options::KafkaOptions;
use super::reader::KafkaReader;
use crate::{LogError, LogReader as _, ReaderPurpose, Start, TopicPartition, read_to};

/// The coordinators' topic. An id is in the partition that its hash names.
const TOPIC: &str = "__transaction_state";

/// How a transaction was to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Commit,
    Abort,
}

/// How the last transaction of `producer` as `transactional_id` was to end on each partition, as far
/// as the coordinator's log still tells. Reads the whole partition that the id is in.
pub(super) fn ends(
    options: &Arc<KafkaOptions>,
    cluster: &Arc<Cluster>,
    transactional_id: &str,
    producer: i64,
) -> Result<HashMap<TopicPartition, End>, LogError> {
    let partitions = cluster.partition_count(TOPIC)?;
    let at = TopicPartition::new(TOPIC, home(transactional_id, partitions));
    let purpose = ReaderPurpose::Recovery;
    let mut reader = KafkaReader::new(Arc::clone(options), Arc::clone(cluster), purpose);
    let (_, high) = reader.watermarks(&at)?;
    reader.assign(&[(at.clone(), Start::Beginning)])?;
    let mut ends = HashMap::new();
    read_to(
        &mut reader,
        &[(at, high)],
        options.request_timeout,
        |record| {
            let id = record.key.as_deref().and_then(id_of);
            if id.as_deref() != Some(transactional_id) {
                return Ok(());
            }
            let entry = record.value.as_deref().and_then(entry);
            if let Some((decided, end, partitions)) = entry
                && decided == producer
            {
                ends.extend(partitions.into_iter().map(|at| (at, end)));
            }
            Ok::<(), LogError>(())
        },
    )?;
    Ok(ends)
}

/// `Utils.abs(transactionalId.hashCode()) % partitions`, as the coordinators find it.
fn home(transactional_id: &str, partitions: u32) -> u32 {
    let units = transactional_id.encode_utf16();
    let hash = units.fold(0_i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    let hash = hash.checked_abs().unwrap_or(0).unsigned_abs();
    hash % partitions.max(1)
}

/// The transactional id of a key (`TransactionLogKey`, version 0).
fn id_of(mut key: &[u8]) -> Option<String> {
    let key = &mut key;
    (key.try_get_i16().ok()? == 0).then_some(())?;
    let length = usize::try_from(key.try_get_i16().ok()?).ok()?;
    text(key, length)
}

/// The producer, the end and the partitions of an entry that decides a transaction
/// (`TransactionLogValue`, versions 0 and 1); none for the others.
fn entry(mut value: &[u8]) -> Option<(i64, End, Vec<TopicPartition>)> {
    let value = &mut value;
    let compact = match value.try_get_i16().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let producer = value.try_get_i64().ok()?;
    let _epoch = value.try_get_i16().ok()?;
    let _timeout_ms = value.try_get_i32().ok()?;
    let end = match value.try_get_i8().ok()? {
        2 => End::Commit,
        3 => End::Abort,
        _ => return None,
    };
    let mut partitions = Vec::new();
    for _ in 0..count(value, compact)? {
        let length = if compact {
            usize::try_from(varint(value)?.checked_sub(1)?).ok()?
        } else {
            usize::try_from(value.try_get_i16().ok()?).ok()?
        };
        let topic = text(value, length)?;
        for _ in 0..count(value, compact)? {
            let partition = u32::try_from(value.try_get_i32().ok()?).ok()?;
            partitions.push(TopicPartition::new(topic.as_str(), partition));
        }
        if compact {
            skip_tags(value)?;
        }
    }
    Some((producer, end, partitions))
}

/// The length of an array, zero when it is null.
fn count(from: &mut &[u8], compact: bool) -> Option<u32> {
    if compact {
        return Some(varint(from)?.saturating_sub(1));
    }
    Some(u32::try_from(from.try_get_i32().ok()?).unwrap_or(0))
}

fn text(from: &mut &[u8], length: usize) -> Option<String> {
    let (text, rest) = from.split_at_checked(length)?;
    *from = rest;
    String::from_utf8(text.to_vec()).ok()
}

fn varint(from: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = from.try_get_u8().ok()?;
        value |= u32::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn skip_tags(from: &mut &[u8]) -> Option<()> {
    for _ in 0..varint(from)? {
        let _tag = varint(from)?;
        let length = usize::try_from(varint(from)?).ok()?;
        *from = from.get(length..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_where_the_coordinators_put_it() {
        assert_eq!(home("a", 50), 97 % 50);
        assert_eq!(home("polygenelubricants", 50), 0, "the hash is i32::MIN");
    }

    #[test]
    fn entries_of_both_versions_are_read() {
        let at = |partition| TopicPartition::new("events", partition);
        let mut old = vec![0, 0];
        old.extend(7_i64.to_be_bytes());
        old.extend([0, 3, 0, 0, 11, 184, 2]);
        old.extend([0, 0, 0, 1, 0, 6]);
        old.extend(b"events");
        old.extend([0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5]);
        old.extend([0; 16]);
        assert_eq!(entry(&old), Some((7, End::Commit, vec![at(0), at(5)])));

        let mut new = vec![0, 1];
        new.extend(7_i64.to_be_bytes());
        new.extend([0, 3, 0, 0, 11, 184, 3]);
        new.extend([2, 7]);
        new.extend(b"events");
        new.extend([2, 0, 0, 0, 5, 1, 0, 2, 9, 9]);
        new.extend([0; 17]);
        assert_eq!(entry(&new), Some((7, End::Abort, vec![at(5)])));
        for length in 0..new.len() - 17 {
            assert_eq!(entry(&new[..length]), None, "cut at {length}");
        }
    }

    #[test]
    fn other_entries_and_other_keys_are_passed_over() {
        let mut ongoing = vec![0, 0];
        ongoing.extend(7_i64.to_be_bytes());
        ongoing.extend([0, 3, 0, 0, 11, 184, 1, 0, 0, 0, 0]);
        assert_eq!(entry(&ongoing), None);
        assert_eq!(id_of(&[0, 0, 0, 2, b'i', b'd']).as_deref(), Some("id"));
        assert_eq!(id_of(&[0, 1, 0, 2, b'i', b'd']), None);
        assert_eq!(id_of(&[0, 0, 0, 3, b'i', b'd']), None);
    }
}
