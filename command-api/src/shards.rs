//! The shards of one context, as the edge sees them.

use cartwright_events::Context;
use cartwright_events::partition::partition_of;
use cartwright_service::health::Readiness;
use cartwright_shard::{Mailbox, Ownership};

use crate::metric_names;

/// The mailboxes of a context that this process serves, by partition.
#[derive(Debug)]
pub struct Shards<C> {
    context: Context,
    mailboxes: Vec<Mailbox<C>>,
}

/// One shard: where a key's commands go.
#[derive(Debug)]
pub struct ShardRef<'a, C> {
    /// Its name for people: context and partition.
    pub name: String,
    /// How to reach it.
    pub mailbox: &'a Mailbox<C>,
}

impl<C: Send + 'static> Shards<C> {
    /// The shards of `context`, one a mailbox, from partition 0 on.
    ///
    /// # Panics
    /// Without a mailbox: a context has at least one partition.
    #[must_use]
    pub fn new(context: Context, mailboxes: Vec<Mailbox<C>>) -> Self {
        assert!(
            !mailboxes.is_empty(),
            "a context has at least one partition"
        );
        Self { context, mailboxes }
    }

    /// The shard that decides for `key`.
    #[must_use]
    pub fn of(&self, key: &str) -> ShardRef<'_, C> {
        let partition = partition_of(key, self.mailboxes.len() as u32);
        ShardRef {
            name: shard_name(self.context, partition),
            mailbox: &self.mailboxes[partition as usize],
        }
    }

    /// Keeps a readiness check a shard up to date, until the shard ends.
    pub(crate) fn report_to(&self, readiness: &Readiness) {
        for (partition, mailbox) in (0..).zip(&self.mailboxes) {
            let check = readiness.check(format!("shard {}", shard_name(self.context, partition)));
            let mut changes = mailbox.ownership_changes();
            let labels = [
                ("context", self.context.name().to_owned()),
                ("partition", partition.to_string()),
            ];
            let gauge = metrics::gauge!(metric_names::SHARD_SERVING, &labels);
            tokio::spawn(async move {
                loop {
                    let ownership = changes.borrow_and_update().clone();
                    let serving = matches!(ownership, Ownership::Serving { .. });
                    check.set(serving, ownership.to_string());
                    gauge.set(f64::from(u8::from(serving)));
                    if ownership.is_final() {
                        return;
                    }
                    if changes.changed().await.is_err() {
                        gauge.set(0.0);
                        return check.not_ok("its thread has ended");
                    }
                }
            });
        }
    }
}

fn shard_name(context: Context, partition: u32) -> String {
    format!("{}/{partition}", context.name())
}
