//! Which transactions are open on a partition. librdkafka can't ask that yet, so this asks the brokers
//! itself, over a connection of its own for each question: it is asked when something is wrong.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::{
    ApiKey, DescribeProducersRequest, DescribeProducersResponse, DescribeTransactionsRequest,
    DescribeTransactionsResponse, ListTransactionsRequest, ListTransactionsResponse, ProducerId,
    RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::cluster::Placement;
use crate::{LogError, OpenTransaction, TopicPartition};

/// The version of all three requests: the first, which every broker knows that has them (Kafka 3.0).
const VERSION: i16 = 0;
/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 4 * 1_024 * 1_024;

/// Asks the partition's leader for producers with an open transaction, and the coordinators whose
/// they are.
pub(super) fn open_transactions(
    at: &TopicPartition,
    placement: &Placement,
    timeout: Duration,
) -> Result<Vec<OpenTransaction>, LogError> {
    let ask = Ask { timeout };
    let mut open = Vec::new();
    for (producer, first_offset) in ask.producers(at, &placement.leader)? {
        let mut holder = None;
        for broker in &placement.brokers {
            holder = ask.holder(producer, broker)?;
            if holder.is_some() {
                break;
            }
        }
        let (transactional_id, open_ms) = holder.unzip();
        open.push(OpenTransaction {
            first_offset,
            transactional_id,
            open_ms,
        });
    }
    open.sort_by_key(|transaction| transaction.first_offset);
    Ok(open)
}

struct Ask {
    timeout: Duration,
}

impl Ask {
    /// Producers with an open transaction, and its first offset.
    fn producers(&self, at: &TopicPartition, leader: &str) -> Result<Vec<(i64, u64)>, LogError> {
        let topic = TopicRequest::default()
            .with_name(TopicName(StrBytes::from_string(at.topic.to_string())))
            .with_partition_indexes(vec![super::cluster::number(at)]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let answer: DescribeProducersResponse =
            self.send(leader, ApiKey::DescribeProducers, &request)?;
        let mut found = Vec::new();
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        for partition in partitions {
            ok(partition.error_code, "describing the producers", leader)?;
            for producer in &partition.active_producers {
                // Minus one when nothing is open.
                if let Ok(first) = u64::try_from(producer.current_txn_start_offset) {
                    found.push((producer.producer_id.0, first));
                }
            }
        }
        Ok(found)
    }

    /// The transactional id of a producer and for how long its transaction is open, if this broker
    /// coordinates it.
    fn holder(&self, producer: i64, broker: &str) -> Result<Option<(String, u64)>, LogError> {
        let request =
            ListTransactionsRequest::default().with_producer_id_filters(vec![ProducerId(producer)]);
        let listed: ListTransactionsResponse =
            self.send(broker, ApiKey::ListTransactions, &request)?;
        ok(listed.error_code, "listing transactions", broker)?;
        let Some(listed) = listed.transaction_states.first() else {
            return Ok(None);
        };
        let id = TransactionalId(listed.transactional_id.0.clone());
        let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![id]);
        let described: DescribeTransactionsResponse =
            self.send(broker, ApiKey::DescribeTransactions, &request)?;
        let started = described.transaction_states.first();
        let started = started.map_or(0, |state| state.transaction_start_time_ms);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_millis());
        let open_ms = match u128::try_from(started) {
            // It has ended meanwhile.
            Err(_) => 0,
            Ok(started) => u64::try_from(now.saturating_sub(started)).unwrap_or(u64::MAX),
        };
        Ok(Some((listed.transactional_id.to_string(), open_ms)))
    }

    /// One question on a connection of its own.
    fn send<Q, A>(&self, broker: &str, key: ApiKey, request: &Q) -> Result<A, LogError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let failed = |reason: String| LogError::Unavailable {
            reason: format!("{broker}: {reason}"),
        };
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(VERSION)
            .with_client_id(Some(StrBytes::from_static_str("cartwright-watchdog")));
        header
            .encode(&mut frame, Q::header_version(VERSION))
            .and_then(|()| request.encode(&mut frame, VERSION))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self
            .exchange(broker, &frame)
            .map_err(|error| failed(error.to_string()))?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(VERSION))
            .and_then(|_| A::decode(&mut answer, VERSION))
            .map_err(|error| failed(format!("unreadable answer: {error}")))
    }

    fn exchange(&self, broker: &str, frame: &[u8]) -> std::io::Result<Vec<u8>> {
        use std::io::{Error, ErrorKind};
        let address = broker.to_socket_addrs()?.next();
        let address = address.ok_or_else(|| Error::from(ErrorKind::AddrNotAvailable))?;
        let mut stream = TcpStream::connect_timeout(&address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let length = u32::try_from(frame.len()).map_err(Error::other)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_ANSWER {
            return Err(Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

fn ok(code: i16, what: &str, broker: &str) -> Result<(), LogError> {
    if code == 0 {
        return Ok(());
    }
    Err(LogError::Unavailable {
        reason: format!("{broker}: {what}: error {code}"),
    })
}
