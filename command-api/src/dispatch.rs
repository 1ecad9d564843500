//! The way of a command from the edge to its shard and back.

use std::time::Duration;

use cartwright_events::{Context, PositionToken, Timestamp};
use cartwright_service::telemetry;
use cartwright_shard::{Answer, Outcome, Reply, Submission};
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::app::App;
use crate::call::Call;
use crate::errors::Error;
use crate::metric_names;
use crate::shards::{ShardRef, Shards};

/// Keeps ids derived from idempotency keys apart from every other use of such ids.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4c1e_52f0_4d53_9b0a_2f0e_9d5c_7a31);

impl App {
    /// Has `command`, which is about `key`, decided by the key's shard; waits for its reply. `body`
    /// is what the request's digest is made of.
    pub(crate) async fn decide<C: Send + 'static>(
        &self,
        shards: Option<&Shards<C>>,
        context: Context,
        key: &str,
        command: C,
        call: &Call,
        body: &impl Serialize,
    ) -> Result<Answer, Error> {
        let shard = shards.ok_or(Error::NotServed(context))?.of(key);
        let decided = self.decide_at(&shard, command, call, body).await;
        let labels = [
            ("context", context.name().to_owned()),
            ("outcome", outcome(&decided).to_owned()),
        ];
        metrics::counter!(metric_names::COMMANDS, &labels).increment(1);
        decided
    }

    async fn decide_at<C: Send + 'static>(
        &self,
        shard: &ShardRef<'_, C>,
        command: C,
        call: &Call,
        body: &impl Serialize,
    ) -> Result<Answer, Error> {
        let command_id = Uuid::now_v7().to_string();
        telemetry::record_command_id(&command_id);
        let (reply, replied) = oneshot::channel();
        let submission = Submission {
            command,
            command_id,
            correlation_id: call.request_id.as_str().to_owned(),
            traceparent: Some(call.traceparent.to_string()),
            idempotency: call.idempotency(body)?,
            expected_version: call.expected_version,
            deadline: Timestamp::now().plus_millis(self.settings.deadline_ms.cast_signed()),
            reply,
        };
        submit(shard, submission)?;
        let reply = tokio::time::timeout(self.settings.reply_wait(), replied).await;
        let state = || shard.mailbox.ownership().to_string();
        let unknown = |why: String| Error::Unknown {
            shard: shard.name.clone(),
            why,
        };
        match reply {
            Ok(Ok(Reply::Decided(Outcome::Accepted(answer)))) => Ok(answer),
            Ok(Ok(Reply::Decided(Outcome::Rejected(rejection)))) => Err(Error::Rejected(rejection)),
            Ok(Ok(Reply::KeyReused)) => Err(Error::KeyReused),
            Ok(Ok(Reply::DeadlinePassed)) => Err(Error::DeadlinePassed {
                state: state(),
                shard: shard.name.clone(),
            }),
            Ok(Ok(Reply::Overloaded { retry_after_ms })) => Err(Error::MailboxFull {
                shard: shard.name.clone(),
                retry_after: Duration::from_millis(retry_after_ms),
            }),
            Ok(Ok(Reply::Failed { reason })) => Err(Error::Failed {
                shard: shard.name.clone(),
                reason,
            }),
            Ok(Ok(Reply::Unknown { reason })) => Err(unknown(reason)),
            // The shard let go of the command without a word: it has ended.
            Ok(Err(_)) => Err(unknown(state())),
            Err(_) => Err(unknown(format!(
                "no reply in time, the shard is {}",
                state()
            ))),
        }
    }

    /// # Errors
    /// When the checkout is served elsewhere: then there are no prices either.
    pub(crate) fn serves_checkout(&self) -> Result<(), Error> {
        self.checkout
            .as_ref()
            .map(|_| ())
            .ok_or(Error::NotServed(Context::Checkout))
    }

    /// For commands that need no price: waits for the position that the caller gives, if any.
    pub(crate) async fn await_position(&self, call: &Call) -> Result<(), Error> {
        self.serves_checkout()?;
        match &call.position {
            Some(_) => self.prices_for(call).await,
            None => Ok(()),
        }
    }

    /// Makes sure that prices can be had, and are as new as the caller asks for.
    pub(crate) async fn prices_for(&self, call: &Call) -> Result<(), Error> {
        let limit = self.settings.position_wait();
        match &call.position {
            Some(position) => self.prices.holds(position, limit).await?,
            None => self.prices.loaded(limit).await?,
        }
        Ok(())
    }
}

/// What is counted: a bounded set, since reasons are.
fn outcome(decided: &Result<Answer, Error>) -> &str {
    match decided {
        Ok(_) => "accepted",
        Err(Error::Rejected(rejection)) => &rejection.reason,
        Err(Error::KeyReused) => "idempotency_key_reused",
        Err(Error::MailboxFull { .. }) => "overloaded",
        Err(Error::DeadlinePassed { .. }) => "deadline_passed",
        Err(Error::ShardUnavailable { .. }) => "shard_unavailable",
        Err(Error::Unknown { .. }) => "outcome_unknown",
        Err(_) => "failed",
    }
}

fn submit<C: Send + 'static>(
    shard: &ShardRef<'_, C>,
    submission: Submission<C>,
) -> Result<(), Error> {
    let unavailable = || {
        let ownership = shard.mailbox.ownership();
        let why = ownership.to_string();
        ownership.is_final().then(|| Error::ShardUnavailable {
            shard: shard.name.clone(),
            why,
        })
    };
    if let Some(error) = unavailable() {
        return Err(error);
    }
    shard.mailbox.submit(submission).map_err(|full| {
        // A shard that ends in this very moment refuses too, and for good.
        unavailable().unwrap_or_else(|| Error::MailboxFull {
            shard: shard.name.clone(),
            retry_after: Duration::from_millis(full.retry_after_ms),
        })
    })
}

/// The id of what a client creates without naming it: the same for every retry, so that the retry
/// reaches the same shard and meets the same aggregate.
pub(crate) fn derived_id(call: &Call) -> String {
    let key = call.key.as_deref().unwrap_or_default();
    Uuid::new_v5(&ID_NAMESPACE, key.as_bytes()).to_string()
}

/// Both positions in one.
pub(crate) fn merged(mut position: PositionToken, other: &PositionToken) -> PositionToken {
    position.merge(other);
    position
}
