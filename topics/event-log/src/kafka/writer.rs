//! The transactional writer.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ThreadedProducer};

use super::cluster::Cluster;
use super::commit::commit_transaction;
use super::context::ProducerContext;
use super::deliveries::{Outcome, tag};
use super::failure::{Failure, configuration, unavailable};
use super::hanging::end_hanging;
use super::options::KafkaOptions;
use crate::{CommitError, LogError, LogWriter, NewRecord, Receipt};

/// What deliveries may take beyond the message timeout: librdkafka looks for
/// timed-out messages once a second.
const DELIVERY_GRACE: Duration = Duration::from_secs(2);

type Client = ThreadedProducer<ProducerContext>;

/// See [`LogWriter`].
pub struct KafkaWriter {
    options: Arc<KafkaOptions>,
    cluster: Arc<Cluster>,
    transactional_id: String,
    state: State,
    last_end: Option<Instant>,
}

enum State {
    /// Connected; `init_transactions`, which a client can do once, is to come.
    Warm(Client),
    /// Holds the transactional id.
    Ready(Client),
    /// Did hold it, and must not begin again: an error, or a doubt.
    Spent(Client),
    /// Making a client failed.
    None,
}

impl KafkaWriter {
    pub(super) fn new(
        options: Arc<KafkaOptions>,
        cluster: Arc<Cluster>,
        transactional_id: &str,
    ) -> Result<Self, LogError> {
        let client = connect(&options, transactional_id)?;
        Ok(Self {
            options,
            cluster,
            transactional_id: transactional_id.to_owned(),
            state: State::Warm(client),
            last_end: None,
        })
    }

    /// Begins, produces, awaits every delivery, commits.
    fn transact(&self, client: &Client, records: &[NewRecord]) -> Result<Receipt, CommitError> {
        let context = client.context();
        let started = Instant::now();
        // Nothing is under way yet: whatever fails here changed nothing.
        client
            .begin_transaction()
            .map_err(|error| self.not_committed(client, Failure::from_kafka(&error)))?;

        send(client, records);
        let delivery_timeout = self.options.transaction_timeout + DELIVERY_GRACE;
        let offsets = match context.deliveries.wait(delivery_timeout) {
            Outcome::Delivered(offsets) => offsets,
            Outcome::Failed(failure) => return Err(self.abort(client, failure)),
            // No abort while a produce is in flight: it could arrive after the
            // abort and open a transaction that nobody ends. The commit was
            // never asked for, so this is certain.
            Outcome::InFlight => {
                return Err(CommitError::NotCommitted {
                    reason: "deliveries were not confirmed in time".to_owned(),
                });
            }
        };
        commit_transaction(client.client(), self.options.commit_timeout)
            .map_err(|failure| unknown(failure.resolved(client.client())))?;

        let duration = started.elapsed();
        let doubtful = duration > self.options.slow_commit || context.has_disconnected();
        if doubtful {
            tracing::info!(
                transactional_id = self.transactional_id,
                duration_ms = duration.as_millis(),
                disconnected = context.has_disconnected(),
                "committed, but a repeated request may be under way",
            );
        }
        Ok(Receipt {
            offsets,
            duration,
            doubtful,
        })
    }

    fn not_committed(&self, client: &Client, failure: Failure) -> CommitError {
        let failure = failure.resolved(client.client());
        if failure.is_fenced() {
            return CommitError::Fenced;
        }
        CommitError::NotCommitted {
            reason: failure.describe(),
        }
    }

    /// Aborts, which frees the readers of these partitions now rather than at
    /// the next take-over or the timeout. Whether it works changes nothing but
    /// what is known of the reason.
    fn abort(&self, client: &Client, failure: Failure) -> CommitError {
        let Err(error) = client.abort_transaction(self.options.transaction_timeout) else {
            return self.not_committed(client, failure);
        };
        let abort_failure = Failure::from_kafka(&error).resolved(client.client());
        if abort_failure.is_fenced() {
            return CommitError::Fenced;
        }
        tracing::warn!(
            transactional_id = self.transactional_id,
            error = abort_failure.describe(),
            "could not abort the transaction; the next take-over or its timeout will",
        );
        self.not_committed(client, failure)
    }

    fn keep_gap(&self) {
        let Some(last_end) = self.last_end else {
            return;
        };
        let left = self
            .options
            .transaction_gap
            .saturating_sub(last_end.elapsed());
        if !left.is_zero() {
            thread::sleep(left);
        }
    }
}

impl LogWriter for KafkaWriter {
    fn take_over(&mut self) -> Result<(), LogError> {
        let client = match std::mem::replace(&mut self.state, State::None) {
            State::Warm(client) => client,
            State::Ready(used) | State::Spent(used) => {
                discard(used);
                connect(&self.options, &self.transactional_id)?
            }
            State::None => connect(&self.options, &self.transactional_id)?,
        };
        if let Err(error) = client.init_transactions(self.options.take_over_timeout) {
            let failure = Failure::from_kafka(&error).resolved(client.client());
            discard(client);
            return Err(self.take_over_error(&failure));
        }
        if let Err(error) = end_hanging(&self.transactional_id, &self.options, &self.cluster) {
            discard(client);
            return Err(error);
        }
        client.context().taken_over();
        self.state = State::Ready(client);
        Ok(())
    }

    fn needs_take_over(&self) -> bool {
        match &self.state {
            State::Ready(client) => client.context().has_disconnected(),
            State::Warm(_) | State::Spent(_) | State::None => true,
        }
    }

    fn commit(&mut self, records: Vec<NewRecord>) -> Result<Receipt, CommitError> {
        self.options.limits.check(&records)?;
        self.keep_gap();
        let client = match std::mem::replace(&mut self.state, State::None) {
            State::Ready(client) => client,
            other => {
                self.state = other;
                return Err(CommitError::TakeOverFirst);
            }
        };
        if client.context().has_disconnected() {
            // Since the last end: a request that is repeated could end what would begin now.
            self.state = State::Spent(client);
            return Err(CommitError::TakeOverFirst);
        }
        let result = self.transact(&client, &records);
        self.last_end = Some(Instant::now());
        self.state = match &result {
            Ok(receipt) if !receipt.doubtful => State::Ready(client),
            _ => State::Spent(client),
        };
        result
    }
}

impl KafkaWriter {
    fn take_over_error(&self, failure: &Failure) -> LogError {
        if failure.is_fenced() {
            return LogError::Fenced {
                transactional_id: self.transactional_id.clone(),
            };
        }
        let reason = failure.describe();
        if failure.fatal {
            LogError::Fatal { reason }
        } else {
            LogError::Unavailable { reason }
        }
    }
}

impl Drop for KafkaWriter {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::None) {
            State::Warm(client) | State::Ready(client) | State::Spent(client) => discard(client),
            State::None => {}
        }
    }
}

/// Once the commit was asked for, only two things are certain: success, and
/// that this writer is out.
fn unknown(failure: Failure) -> CommitError {
    if failure.is_fenced() {
        return CommitError::Fenced;
    }
    CommitError::Unknown {
        reason: failure.describe(),
    }
}

fn connect(options: &KafkaOptions, transactional_id: &str) -> Result<Client, LogError> {
    let client: Client = options
        .producer(transactional_id)
        .create_with_context(ProducerContext::default())
        .map_err(|error| configuration(&error))?;
    client
        .client()
        .fetch_metadata(None, options.request_timeout)
        .map_err(|error| unavailable(&error))?;
    thread::sleep(options.warm_up);
    Ok(client)
}

/// Destroying a client can take a while, which a shard shouldn't wait for.
fn discard(client: Client) {
    thread::spawn(move || drop(client));
}

fn send(client: &Client, records: &[NewRecord]) {
    let deliveries = &client.context().deliveries;
    let generation = deliveries.expect(records.len());
    for (index, record) in records.iter().enumerate() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for (key, value) in &record.headers {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
        }
        let mut message = BaseRecord::with_opaque_to(&record.topic, tag(generation, index))
            .partition(i32::try_from(record.partition).unwrap_or(i32::MAX))
            .key(record.key.as_slice())
            .headers(headers);
        message.payload = record.value.as_deref();
        if let Err((error, _)) = client.send(message) {
            let failure = Failure::from_kafka(&error);
            deliveries.not_sent(records.len() - index, failure);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Brokers are not needed: it must not even begin.
    #[test]
    fn a_writer_whose_connection_broke_since_its_last_transaction_does_not_begin_another() {
        let options = Arc::new(KafkaOptions::new("127.0.0.1:1"));
        let client: Client = options
            .producer("writer")
            .create_with_context(ProducerContext::default())
            .expect("a client");
        rdkafka::client::ClientContext::error(
            client.context().as_ref(),
            rdkafka::error::KafkaError::Canceled,
            "the connection broke",
        );
        let mut writer = KafkaWriter {
            cluster: Arc::new(Cluster::new(&options).expect("a client")),
            options,
            transactional_id: "writer".to_owned(),
            state: State::Ready(client),
            last_end: None,
        };
        assert!(writer.needs_take_over());
        let record = NewRecord {
            topic: Arc::from("t"),
            partition: 0,
            key: Vec::new(),
            value: Some(Vec::new()),
            headers: Vec::new(),
        };
        let refused = writer.commit(vec![record]).expect_err("refused");
        assert_eq!(refused, CommitError::TakeOverFirst);
    }
}
