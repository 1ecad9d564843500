//! Commands whose callers do not wait: made durable in the inbox of their shard, and asked for later.

use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::{Context, Timestamp};
use cartwright_service::extract::Json;
use cartwright_shard::nodes::ShardId;
use cartwright_shard::{Answer, Found, QueuedCommand};
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::app::App;
use crate::call::{Call, PREFERENCE_APPLIED};
use crate::dispatch::{Travelling, not_served_now};
use crate::errors::Error;
use crate::queue::NotQueued;
use crate::shards::Shards;
use crate::status_id::StatusId;

/// A command that is durable in the inbox of its shard, and not decided yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueuedBody {
    /// The command.
    #[schema(example = "checkout-1-4711-01a20341-4d51-713b-955a-134939c7c6b2")]
    command: String,
    /// `pending`.
    status: &'static str,
    /// Where to ask what became of it.
    #[schema(example = "/v1/commands/checkout-1-4711-01a20341-4d51-713b-955a-134939c7c6b2")]
    status_url: String,
}

impl App {
    /// Makes the command durable in its shard's inbox, whether its owner lives or not.
    pub(crate) async fn queue_up<C: Serialize>(
        &self,
        shard: ShardId,
        key: &str,
        travelling: &Travelling<'_, C>,
    ) -> Result<Answer, Error> {
        let call = travelling.call;
        // Whether prices hold it is the owner's question; whether it can be one is answered here.
        if let Some(position) = &call.position {
            self.prices.wanted(position)?;
        }
        let idempotency = travelling.idempotency.as_ref();
        let command = SubmitCommand {
            context: shard.context,
            aggregate_id: key.to_owned(),
            command_id: call.command_id.clone(),
            idempotency_key: idempotency.map(|key| key.key.clone()),
            fingerprint: idempotency.map_or_else(String::new, |key| key.fingerprint.clone()),
            expected_version: call.expected_version,
            command: serde_json::to_string(&travelling.command).map_err(Error::Unwritable)?,
        };
        let queued = QueuedCommand {
            shard,
            command,
            time: Timestamp::now(),
            correlation_id: call.request_id.as_str().to_owned(),
            traceparent: call.traceparent.to_string(),
            after: call.position.clone(),
        };
        queued.fits().map_err(Error::Rejected)?;
        let shard_name = shard.to_string();
        let written = tokio::time::timeout(self.settings.reply_wait(), self.queue.put(queued));
        let offset = match written.await {
            Ok(Ok(offset)) => offset,
            Ok(Err(NotQueued::Full { retry_after_ms })) => {
                return Err(Error::MailboxFull {
                    shard: shard_name,
                    retry_after: Duration::from_millis(retry_after_ms),
                });
            }
            Ok(Err(NotQueued::NotWritten(why))) => {
                return Err(Error::ShardMoving {
                    shard: shard_name,
                    why: format!("has an inbox that could not be written to ({why})"),
                });
            }
            Ok(Err(NotQueued::Unknown(why))) => {
                let shard = shard_name;
                return Err(Error::Unknown { shard, why });
            }
            Err(_) => {
                let (shard, why) = (shard_name, "it was not written in time".to_owned());
                return Err(Error::Unknown { shard, why });
            }
        };
        let status = StatusId {
            shard,
            offset,
            command_id: Uuid::parse_str(&call.command_id).unwrap_or_default(),
        };
        Err(Error::Queued(Box::new(queued_up(&status))))
    }

    /// Whether there is such a shard, as far as this process knows: of a context that it does not serve it
    /// does not.
    pub(crate) fn may_have(&self, shard: ShardId) -> bool {
        let partitions = match shard.context {
            Context::Catalog => self.catalog.partitions(),
            Context::Inventory => self.inventory.partitions(),
            Context::Checkout => self.checkout.partitions(),
        };
        partitions == 0 || shard.partition < partitions
    }

    /// What became of a command that was queued, asked of the owner of its shard.
    pub(crate) async fn command_status(&self, id: &StatusId, call: &Call) -> Result<Found, Error> {
        let owner = self.peers.as_ref().and_then(|peers| {
            peers
                .map
                .borrow()
                .get(id.shard)
                .map(|now| now.owner.clone())
        });
        if let (Some(peers), Some(owner)) = (&self.peers, owner)
            && owner.node != peers.me
            && call.hops < peers.max_hops
        {
            let left = Duration::from_millis(self.settings.deadline_ms);
            let sent = peers
                .forwarder
                .send(&owner.address, call, Bytes::new(), left);
            return match tokio::time::timeout(left, sent).await {
                Ok(Ok(response)) => Err(Error::Elsewhere(Box::new(response))),
                _ => Err(not_served_now(id.shard, "did not answer")),
            };
        }
        let asked = match id.shard.context {
            Context::Catalog => ask(&self.catalog, id),
            Context::Inventory => ask(&self.inventory, id),
            Context::Checkout => ask(&self.checkout, id),
        };
        let asked = asked.ok_or_else(|| not_served_now(id.shard, "does not run here"))?;
        match tokio::time::timeout(self.settings.reply_wait(), asked).await {
            Ok(Ok(found)) => Ok(found),
            _ => Err(not_served_now(id.shard, "did not answer")),
        }
    }
}

fn ask<C>(shards: &Shards<C>, id: &StatusId) -> Option<oneshot::Receiver<Found>> {
    let mailbox = shards.at(id.shard.partition)?.borrow().clone()?;
    Some(mailbox.look_up(id.command_id.to_string(), id.offset))
}

/// 202: it is durable, and here is where to ask for it.
fn queued_up(status: &StatusId) -> Response {
    let url = format!("/v1/commands/{status}");
    let body = QueuedBody {
        command: status.to_string(),
        status: "pending",
        status_url: url.clone(),
    };
    let applied = HeaderValue::from_static("respond-async");
    let mut response = (StatusCode::ACCEPTED, Json(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(PREFERENCE_APPLIED, applied);
    // Digits, letters and dashes.
    if let Ok(url) = HeaderValue::from_str(&url) {
        headers.insert(LOCATION, url);
    }
    response
}
