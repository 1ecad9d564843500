//! The way of a command from the edge to its shard and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cartwright_events::{PositionToken, Reference, Timestamp};
use cartwright_service::telemetry;
use cartwright_shard::nodes::{NodeAddress, NodeId, OwnerMap, ShardId};
use cartwright_shard::{Answer, IdempotencyKey, Mailbox, Outcome, Ownership, Reply, Submission};
use serde::Serialize;
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::app::App;
use crate::call::Call;
use crate::errors::Error;
use crate::metric_names;
use crate::nodes::Peers;
use crate::shards::{ShardRef, Shards};

/// Keeps ids derived from idempotency keys apart from every other use of such ids.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_4c1e_52f0_4d53_9b0a_2f0e_9d5c_7a31);

/// What the shard's process has to know of prices before a command is put to the shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Nothing,
    /// The position that the caller gives, if any.
    Position,
    /// Prices, as new as the caller asks for.
    Prices,
}

/// A command on its way, whichever node decides it in the end.
pub(crate) struct Travelling<'a, C> {
    pub(crate) command: C,
    need: Need,
    pub(crate) call: &'a Call,
    body: Bytes,
    pub(crate) idempotency: Option<IdempotencyKey>,
    /// Until when its turn may come.
    deadline: Instant,
}

/// How one try ended.
enum Tried {
    /// Like this, for good.
    Settled(Result<Answer, Error>),
    /// Nobody answered for it here. Another try, here or elsewhere, is safe: the command's id or key
    /// settles what has been decided already.
    Again(Error),
}

/// How long a forwarded request is still waited for when its shard is said to have moved: the old
/// owner answers what it has accepted.
const MOVED_GRACE: Duration = Duration::from_millis(300);
/// The longest pause before another try, when no news comes.
const TRY_AGAIN: Duration = Duration::from_millis(50);

impl App {
    /// Has `command`, which is about `key`, decided by the key's shard, on whichever node that is;
    /// waits for its reply. `body` is what the request's digest is made of.
    pub(crate) async fn decide<C: Clone + Serialize + Send + 'static>(
        &self,
        shards: &Shards<C>,
        key: &str,
        command: C,
        need: Need,
        call: &Call,
        body: &impl Serialize,
    ) -> Result<Answer, Error> {
        telemetry::record_command_id(&call.command_id);
        let context = shards.context();
        if self.peers.is_none() && !self.settings.contexts.contains(&context) {
            return Err(Error::NotServed(context));
        }
        let allowed = Duration::from_millis(self.settings.deadline_ms);
        let travelling = Travelling {
            command,
            need,
            idempotency: call.idempotency(body)?,
            body: match &self.peers {
                Some(_) => serde_json::to_vec(body).map_err(Error::Unwritable)?.into(),
                None => Bytes::new(),
            },
            deadline: Instant::now() + call.deadline.map_or(allowed, |left| left.min(allowed)),
            call,
        };
        let shard = shards.of(key);
        let decided = match &self.peers {
            _ if call.respond_async => self.queue_up(shard.id, key, &travelling).await,
            None => match self.decide_here(&shard, &travelling).await {
                Tried::Settled(decided) => decided,
                Tried::Again(error) => Err(error),
            },
            Some(peers) => self.decide_somewhere(peers, &shard, &travelling).await,
        };
        let labels = [
            ("context", context.name().to_owned()),
            ("outcome", outcome(&decided).to_owned()),
        ];
        metrics::counter!(metric_names::COMMANDS, &labels).increment(1);
        decided
    }

    /// Tries where the map says, as often as there is news, until the deadline. A shard that is just
    /// changing hands holds its commands so, and no caller notices.
    async fn decide_somewhere<C: Clone + Send + 'static>(
        &self,
        peers: &Peers,
        shard: &ShardRef<'_, C>,
        travelling: &Travelling<'_, C>,
    ) -> Result<Answer, Error> {
        let mut map = peers.map.clone();
        let mut slot = shard.slot.subscribe();
        // Once it may have taken effect somewhere, no later failure says that nothing was begun.
        let mut in_doubt = None;
        loop {
            let assignment = map.borrow_and_update().get(shard.id).cloned();
            let runs_here = slot.borrow_and_update().is_some();
            let tried = match assignment {
                None => Tried::Again(not_served_now(shard.id, "has no owner yet")),
                Some(now) if now.owner.node == peers.me && runs_here => {
                    self.decide_here(shard, travelling).await
                }
                Some(now) if now.owner.node == peers.me => {
                    Tried::Again(not_served_now(shard.id, "is being started"))
                }
                Some(_) if travelling.call.hops >= peers.max_hops => {
                    Tried::Again(not_served_now(shard.id, "is changing its owner"))
                }
                Some(now) => {
                    let limit = self.answer_limit(travelling.call);
                    forward(peers, shard.id, &now.owner, travelling, limit).await
                }
            };
            let error = match tried {
                Tried::Settled(decided) if is_final(&decided) => return decided,
                // Nothing was begun this time; whether it was before is still not known.
                Tried::Settled(decided) => return in_doubt.map_or(decided, Err),
                Tried::Again(error) => error,
            };
            let left = travelling
                .deadline
                .saturating_duration_since(Instant::now());
            if matches!(error, Error::Unknown { .. }) {
                in_doubt = Some(error);
            } else if left.is_zero() {
                return Err(in_doubt.unwrap_or(error));
            }
            if left.is_zero() {
                return Err(in_doubt.unwrap_or_else(|| not_served_now(shard.id, "was not reached")));
            }
            tokio::select! {
                // An end of either means that the node stops; the pause bounds the tries then.
                Ok(()) = map.changed() => {}
                Ok(()) = slot.changed() => {}
                () = tokio::time::sleep(left.min(TRY_AGAIN)) => {}
            }
        }
    }

    /// How long another node's answer is waited for: as long as that node waits itself.
    fn answer_limit(&self, call: &Call) -> Duration {
        let position = call.position.as_ref();
        let position = position.map_or(Duration::ZERO, |_| self.settings.position_wait());
        let outcome = call.wait.unwrap_or_default().min(self.settings.wait_max());
        position + self.settings.reply_wait() + outcome
    }

    async fn decide_here<C: Clone + Send + 'static>(
        &self,
        shard: &ShardRef<'_, C>,
        travelling: &Travelling<'_, C>,
    ) -> Tried {
        let Some(mailbox) = shard.slot.borrow().clone() else {
            return Tried::Again(not_served_now(shard.id, "does not run here"));
        };
        if let Err(error) = self.await_prices(travelling.need, travelling.call).await {
            return Tried::Settled(Err(error));
        }
        let call = travelling.call;
        let (reply, replied) = oneshot::channel();
        let left = travelling
            .deadline
            .saturating_duration_since(Instant::now());
        let left_ms = i64::try_from(left.as_millis()).unwrap_or(i64::MAX);
        let submission = Submission {
            command: travelling.command.clone(),
            command_id: call.command_id.clone(),
            correlation_id: call.request_id.as_str().to_owned(),
            traceparent: Some(call.traceparent.to_string()),
            idempotency: travelling.idempotency.clone(),
            expected_version: call.expected_version,
            deadline: Timestamp::now().plus_millis(left_ms),
            reply,
        };
        let name = shard.id.to_string();
        if let Err(error) = submit(&name, &mailbox, submission) {
            return match error {
                // It has ended; another start of it, here or elsewhere, may come in time.
                Error::ShardUnavailable { .. } => Tried::Again(error),
                error => Tried::Settled(Err(error)),
            };
        }
        let reply = tokio::select! {
            reply = tokio::time::timeout(self.settings.reply_wait(), replied) => reply,
            // A shard that was fenced may take seconds to find out.
            () = moved(self.peers.as_ref(), shard.id, None) => Ok(Ok(Reply::Unknown {
                reason: "its shard has moved".to_owned(),
            })),
        };
        if matches!(reply, Ok(Err(_))) {
            // The shard let go of the command without a word: it has ended, or a panic is ending it.
            let mut ownership = mailbox.ownership_changes();
            let _ = ownership.wait_for(Ownership::is_final).await;
        }
        let state = || mailbox.ownership().to_string();
        let unknown = |why: String| Error::Unknown {
            shard: name.clone(),
            why,
        };
        Tried::Settled(match reply {
            Ok(Ok(Reply::Decided(Outcome::Accepted(answer)))) => Ok(answer),
            Ok(Ok(Reply::Decided(Outcome::Rejected(rejection)))) => Err(Error::Rejected(rejection)),
            Ok(Ok(Reply::KeyReused)) => Err(Error::KeyReused),
            Ok(Ok(Reply::DeadlinePassed)) => Err(Error::DeadlinePassed {
                state: state(),
                shard: name,
                retry_after: Duration::from_millis(mailbox.retry_after_ms()),
            }),
            Ok(Ok(Reply::Overloaded { retry_after_ms })) => Err(Error::MailboxFull {
                shard: name,
                retry_after: Duration::from_millis(retry_after_ms),
            }),
            Ok(Ok(Reply::Failed { reason })) => Err(Error::Failed {
                shard: name,
                reason,
            }),
            // The shard has ended by itself with the command in its hands, and it may have been this
            // very command: the next owner is not given it too.
            Ok(Ok(Reply::Unknown { .. }) | Err(_))
                if matches!(mailbox.ownership(), Ownership::Refused { .. }) =>
            {
                Err(unknown(state()))
            }
            Ok(Ok(Reply::Unknown { reason })) => return Tried::Again(unknown(reason)),
            Ok(Err(_)) => return Tried::Again(unknown(state())),
            Err(_) => Err(unknown(format!(
                "no reply in time, the shard is {}",
                state()
            ))),
        })
    }

    async fn await_prices(&self, need: Need, call: &Call) -> Result<(), Error> {
        let limit = self.settings.position_wait();
        match (&call.position, need) {
            (_, Need::Nothing) | (None, Need::Position) => {}
            (Some(position), _) => self.prices.holds(position, limit).await?,
            (None, Need::Prices) => self.prices.loaded(limit).await?,
        }
        Ok(())
    }
}

/// Sends the request to the owner and waits for its answer, `limit` at most, or for news that make
/// waiting futile.
async fn forward<C>(
    peers: &Peers,
    shard: ShardId,
    owner: &NodeAddress,
    travelling: &Travelling<'_, C>,
    limit: Duration,
) -> Tried {
    let left = travelling
        .deadline
        .saturating_duration_since(Instant::now());
    let sent = peers.forwarder.send(
        &owner.address,
        travelling.call,
        travelling.body.clone(),
        left,
    );
    let unknown = |why: String| Error::Unknown {
        shard: shard.to_string(),
        why,
    };
    let (tried, outcome) = tokio::select! {
        answered = sent => match answered {
            Ok(response) => (Tried::Settled(Err(Error::Elsewhere(Box::new(response)))), "answered"),
            Err(error) => (Tried::Again(unknown(error.to_string())), "no_answer"),
        },
        () = tokio::time::sleep(limit) => (Tried::Again(unknown(format!("{} gave no answer in time", owner.address))), "no_answer"),
        () = moved(Some(peers), shard, Some(&owner.node)) => (Tried::Again(unknown("its shard has moved".to_owned())), "moved"),
    };
    metrics::counter!(metric_names::FORWARDED, "outcome" => outcome).increment(1);
    tried
}

/// Resolves a while after the shard was said to be another node's than `owner` (none: this one); the
/// owner before answers what it has accepted, and most answers come in that while.
async fn moved(peers: Option<&Peers>, shard: ShardId, owner: Option<&NodeId>) {
    let Some(peers) = peers else {
        return std::future::pending().await;
    };
    let owner = owner.unwrap_or(&peers.me);
    let elsewhere = |map: &Arc<OwnerMap>| {
        map.get(shard)
            .is_some_and(|assignment| assignment.owner.node != *owner)
    };
    // An end means that this node stops: what is in flight is still waited for.
    if peers.map.clone().wait_for(elsewhere).await.is_err() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(MOVED_GRACE).await;
}

/// Whether this is what became of the command, and not that it was not begun this time.
fn is_final(decided: &Result<Answer, Error>) -> bool {
    match decided {
        Ok(_) | Err(Error::Rejected(_) | Error::KeyReused | Error::Failed { .. }) => true,
        Err(Error::Elsewhere(response)) => {
            use http::StatusCode as S;
            !matches!(
                response.status(),
                S::SERVICE_UNAVAILABLE | S::GATEWAY_TIMEOUT | S::TOO_MANY_REQUESTS
            )
        }
        Err(_) => false,
    }
}

pub(crate) fn not_served_now(shard: ShardId, why: &str) -> Error {
    Error::ShardMoving {
        shard: shard.to_string(),
        why: why.to_owned(),
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
        Err(Error::ShardMoving { .. }) => "shard_moving",
        Err(Error::Queued(_)) => "queued",
        Err(Error::Elsewhere(_)) => "forwarded",
        Err(Error::Unknown { .. }) => "outcome_unknown",
        Err(_) => "failed",
    }
}

fn submit<C>(name: &str, mailbox: &Mailbox<C>, submission: Submission<C>) -> Result<(), Error> {
    let unavailable = || {
        let ownership = mailbox.ownership();
        let why = ownership.to_string();
        ownership.is_final().then(|| Error::ShardUnavailable {
            shard: name.to_owned(),
            why,
        })
    };
    if let Some(error) = unavailable() {
        return Err(error);
    }
    mailbox.submit(submission).map_err(|full| {
        // A shard that ends in this very moment refuses too, and for good.
        unavailable().unwrap_or_else(|| Error::MailboxFull {
            shard: name.to_owned(),
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

/// The reference of what a client books without one: the same for every retry, and remembered for as
/// long as others are, also when the result under its key is forgotten. `None` without a key.
pub(crate) fn derived_reference(call: &Call) -> Option<Reference> {
    call.key.as_ref()?;
    Reference::new(format!("key-{}", derived_id(call))).ok()
}

/// Both positions in one.
pub(crate) fn merged(mut position: PositionToken, other: &PositionToken) -> PositionToken {
    position.merge(other);
    position
}
