//! Ends transactions that nobody else ends any more.
//!
//! A coordinator that wants to write the end of a transaction to a partition without a leader takes
//! the partition for deleted and leaves it out (Kafka 4.3: `KRaftMetadataCache` knows no endpoint for
//! it). So does a broker that is alone, or a cluster that was down as a whole, when it is killed under
//! load: it comes back as the leader that it was, loads what its coordinator had to finish, and only
//! then loses its leadership for the moment of its new registration. What was left out stays open for
//! ever: no take-over and no timeout ends it, and every read_committed reader waits before it.
//!
//! The coordinator's own log tells how the transaction was to end, commit or abort, and that is
//! written here. It is safe because only the holder of the transactional id does it, after its
//! take-over and before its first transaction: until then nothing of that id can be open, and a marker
//! that is late, of an epoch before the take-over, is refused once the partition has seen the new one.

use std::sync::Arc;

use kafka_protocol::messages::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic,
};
use kafka_protocol::messages::{
    ApiKey, ProducerId, TopicName, WriteTxnMarkersRequest, WriteTxnMarkersResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::cluster::{Cluster, Placement, number};
use super::coordinator_log::{End, ends};
use super::options::KafkaOptions;
use super::transactions::{Open, has_ended};
use super::wire::{Wire, ok};
use crate::{LogError, TopicPartition};

/// The only version that there is since Kafka 4.0.
const MARKERS_VERSION: i16 = 1;

/// Ends what hangs of `transactional_id` on [`KafkaOptions::written_topics`]. To be called by the
/// holder of the id after its take-over and before its first transaction.
pub(super) fn end_hanging(
    transactional_id: &str,
    options: &Arc<KafkaOptions>,
    cluster: &Arc<Cluster>,
) -> Result<(), LogError> {
    if options.written_topics.is_empty() || options.is_secured() {
        return Ok(());
    }
    let wire = Wire {
        timeout: options.request_timeout,
    };
    let placement = cluster.placement(&options.written_topics)?;
    let mut open = ask(transactional_id, options, &placement, &wire)?;
    if open.is_empty() {
        return Ok(());
    }
    let Some((producer, epoch)) = settled(transactional_id, &placement, &wire)? else {
        // Somebody has taken the id over since and has begun: what hangs is theirs to end.
        return Ok(());
    };
    open.retain(|open| open.producer == producer && open.epoch < epoch);
    if open.is_empty() {
        return Ok(());
    }
    let ends = ends(options, cluster, transactional_id, producer)?;
    for open in &open {
        let end = ends.get(&open.at).ok_or_else(|| LogError::Unavailable {
            reason: format!(
                "a transaction of {transactional_id} hangs on {} since offset {}, and its \
                 coordinator's log does not say any more how it was to end: see \
                 kafka-transactions.sh",
                open.at, open.first_offset
            ),
        })?;
        write_end(open, *end, placement.leader(&open.at)?, &wire)?;
        tracing::warn!(
            transactional_id,
            at = %open.at,
            first_offset = open.first_offset,
            end = ?end,
            "ended a transaction that the coordinator had left open",
        );
    }
    Ok(())
}

/// What is open on the topics that are written to, of anybody.
fn ask(
    transactional_id: &str,
    options: &KafkaOptions,
    placement: &Placement,
    wire: &Wire,
) -> Result<Vec<Open>, LogError> {
    if !placement.tells_of_any() {
        // As of a broker that has just started.
        let topics = options.written_topics.join(", ");
        return Err(LogError::Unavailable {
            reason: format!("no broker tells of {topics}"),
        });
    }
    let mut open = Vec::new();
    for (leader, partitions) in placement.led() {
        let found = match leader {
            Some(leader) => wire.open_on(leader, &partitions),
            None => Err(LogError::Unavailable {
                reason: "it has no leader".to_owned(),
            }),
        };
        match found {
            Ok(found) => open.extend(found),
            Err(error) => not_asked(transactional_id, options, &partitions, error)?,
        }
    }
    Ok(open)
}

/// There is no leader, or it gives no answer. Where the id may have written to one of its partitions,
/// something of it may hang there, which nobody would end once this holder has begun: the take-over has
/// to be tried again, by when they may have another leader.
fn not_asked(
    transactional_id: &str,
    options: &KafkaOptions,
    partitions: &[&TopicPartition],
    error: LogError,
) -> Result<(), LogError> {
    let mut partitions = partitions.iter();
    match partitions.find(|at| (options.may_write)(transactional_id, at)) {
        Some(at) => Err(LogError::Unavailable {
            reason: format!("whether a transaction of {transactional_id} hangs on {at}: {error}"),
        }),
        None => {
            tracing::debug!(%error, "not asked for hanging transactions");
            Ok(())
        }
    }
}

/// The producer id and epoch of a transactional id that has no transaction under way.
fn settled(
    transactional_id: &str,
    placement: &Placement,
    wire: &Wire,
) -> Result<Option<(i64, i16)>, LogError> {
    for broker in &placement.brokers {
        let Ok(Some(state)) = wire.transaction(transactional_id, broker) else {
            continue;
        };
        return Ok(has_ended(&state).then_some((state.producer_id.0, state.producer_epoch)));
    }
    Err(LogError::Unavailable {
        reason: format!("no broker coordinates {transactional_id}"),
    })
}

/// Writes the marker that the coordinator left out.
fn write_end(open: &Open, end: End, leader: &str, wire: &Wire) -> Result<(), LogError> {
    let topic = WritableTxnMarkerTopic::default()
        .with_name(TopicName(StrBytes::from_string(open.at.topic.to_string())))
        .with_partition_indexes(vec![number(&open.at)]);
    let marker = WritableTxnMarker::default()
        .with_producer_id(ProducerId(open.producer))
        .with_producer_epoch(open.epoch)
        .with_transaction_result(end == End::Commit)
        .with_coordinator_epoch(open.coordinator_epoch.max(0))
        .with_topics(vec![topic]);
    let request = WriteTxnMarkersRequest::default().with_markers(vec![marker]);
    let answer: WriteTxnMarkersResponse =
        wire.send(leader, ApiKey::WriteTxnMarkers, MARKERS_VERSION, &request)?;
    let topics = answer.markers.iter().flat_map(|marker| &marker.topics);
    for partition in topics.flat_map(|topic| &topic.partitions) {
        ok(partition.error_code, "ending a transaction", leader)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> KafkaOptions {
        let mut options = KafkaOptions::new("none");
        options.written_topics = vec!["t".to_owned()];
        options.may_write = |id, at| id == "writer" && at.partition == 1;
        options
    }

    /// Of partitions 0 and on of `t`, which nobody leads.
    fn asked_about(partitions: u32, transactional_id: &str) -> Result<(), LogError> {
        let partitions = (0..partitions).map(|number| TopicPartition::new("t", number));
        let placement = Placement::new(partitions.map(|at| (at, None)), Vec::new());
        let wire = Wire {
            timeout: std::time::Duration::from_secs(1),
        };
        ask(transactional_id, &options(), &placement, &wire).map(drop)
    }

    /// A writer that began without knowing would leave what hangs to hang.
    #[test]
    fn a_partition_without_a_leader_fails_the_take_over_of_those_who_wrote_there() {
        assert_eq!(asked_about(1, "writer"), Ok(()));
        assert_eq!(asked_about(2, "stranger"), Ok(()));
        let refused = asked_about(2, "writer").expect_err("it has written there");
        assert!(refused.to_string().contains("t[1]"), "{refused}");
    }

    #[test]
    fn a_broker_that_knows_of_nothing_is_asked_again() {
        let refused = asked_about(0, "writer").expect_err("nothing is known");
        assert!(matches!(refused, LogError::Unavailable { .. }), "{refused}");
    }

    #[test]
    fn a_leader_without_an_answer_fails_the_take_over_of_those_who_wrote_there() {
        let options = options();
        let (other, own) = (TopicPartition::new("t", 0), TopicPartition::new("t", 1));
        let asked = |id: &str, partitions: &[&TopicPartition]| {
            let error = LogError::Unavailable {
                reason: "no answer".to_owned(),
            };
            not_asked(id, &options, partitions, error)
        };
        assert_eq!(asked("writer", &[&other]), Ok(()));
        assert_eq!(asked("stranger", &[&other, &own]), Ok(()));
        let refused = asked("writer", &[&other, &own]).expect_err("it has written there");
        assert!(refused.to_string().contains("t[1]"), "{refused}");
    }
}
