//! The threads of this process's shards: started, told and stopped by partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cartwright_domain::BoundedContext;
use cartwright_event_log::EventLog;
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_service::health::{Check, Readiness};
use cartwright_shard::nodes::{AgentStatus, OwnerMap, ShardHost, ShardId};
use cartwright_shard::{Begin, Mailbox, Ownership, ShardOptions, ShardThread, SystemClock, spawn};
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::metric_names;
use crate::shards::Shards;

/// How often the depth of a mailbox is looked at.
const DEPTH_EVERY: Duration = Duration::from_millis(500);

/// The shards of one context in this process.
pub(crate) struct ContextHost<B: BoundedContext, L: EventLog> {
    pub(crate) build: Box<dyn Fn() -> B + Send>,
    pub(crate) log: L,
    pub(crate) codec: Codec,
    pub(crate) options: ShardOptions,
    pub(crate) shards: Shards<B::Command>,
    /// Where every shard has a check, while this process is alone.
    pub(crate) readiness: Option<Readiness>,
    pub(crate) runtime: Handle,
    pub(crate) threads: BTreeMap<u32, ShardThread<B::Command>>,
    pub(crate) ending: Vec<(u32, ShardThread<B::Command>)>,
}

/// [`ContextHost`] of whichever context.
pub(crate) trait AnyContextHost: Send {
    fn start(&mut self, partition: u32, begin: Begin) -> std::io::Result<()>;
    fn serve(&mut self, partition: u32);
    fn stop(&mut self, partition: u32);
    fn running(&self) -> Vec<ShardId>;
    fn ownership(&self, partition: u32) -> Option<Ownership>;
    fn stop_all(&mut self, limit: Duration) -> bool;
}

impl<B: BoundedContext, L: EventLog> AnyContextHost for ContextHost<B, L> {
    fn start(&mut self, partition: u32, begin: Begin) -> std::io::Result<()> {
        let shard = spawn(
            (self.build)(),
            partition,
            self.log.clone(),
            self.codec.clone(),
            self.options.clone(),
            Arc::new(SystemClock),
            begin,
        )?;
        let id = ShardId {
            context: B::CONTEXT,
            partition,
        };
        let readiness = self.readiness.as_ref();
        let check = readiness.map(|readiness| readiness.check(format!("shard {id}")));
        self.runtime
            .spawn(watch_over(id, shard.mailbox.clone(), check));
        self.shards.set(partition, Some(shard.mailbox.clone()));
        self.ending.retain(|(_, shard)| !shard.has_ended());
        if let Some(before) = self.threads.insert(partition, shard) {
            self.ending.push((partition, before));
        }
        Ok(())
    }

    fn serve(&mut self, partition: u32) {
        if let Some(shard) = self.threads.get(&partition) {
            shard.serve();
        }
    }

    fn stop(&mut self, partition: u32) {
        self.ending.retain(|(_, shard)| !shard.has_ended());
        if let Some(shard) = self.threads.remove(&partition) {
            shard.let_go();
            self.shards.set(partition, None);
            self.ending.push((partition, shard));
        }
    }

    fn running(&self) -> Vec<ShardId> {
        let ending = self
            .ending
            .iter()
            .map(|(partition, shard)| (partition, shard));
        // A successor waits for no more than that the partition is let go of.
        let mut running: Vec<ShardId> = ending
            .chain(&self.threads)
            .filter(|(_, shard)| !shard.has_let_go())
            .map(|(partition, _)| ShardId {
                context: B::CONTEXT,
                partition: *partition,
            })
            .collect();
        running.sort_unstable();
        running.dedup();
        running
    }

    fn ownership(&self, partition: u32) -> Option<Ownership> {
        let shard = self.threads.get(&partition)?;
        Some(shard.mailbox.ownership())
    }

    /// Stops every shard, each deciding and committing what it has accepted. Returns whether all
    /// ended within `limit`.
    fn stop_all(&mut self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let threads = std::mem::take(&mut self.threads).into_values();
        let ending = self.ending.drain(..).map(|(_, shard)| shard);
        let all: Vec<_> = threads.chain(ending).collect();
        for shard in &all {
            shard.ask_to_stop();
        }
        let mut ended = true;
        for shard in all {
            ended &= shard.stop(until.saturating_duration_since(Instant::now()));
        }
        ended
    }
}

/// Keeps a shard's gauges, and its readiness check if it has one, up to date until it ends.
async fn watch_over<C: Send + 'static>(id: ShardId, mailbox: Mailbox<C>, check: Option<Check>) {
    let labels = [
        ("context", id.context.name().to_owned()),
        ("partition", id.partition.to_string()),
    ];
    let serving_gauge = metrics::gauge!(metric_names::SHARD_SERVING, &labels);
    let depth_gauge = metrics::gauge!(metric_names::MAILBOX_DEPTH, &labels);
    let stuck_gauge = metrics::gauge!(metric_names::INBOX_STUCK, &labels);
    let mut changes = mailbox.ownership_changes();
    loop {
        let ownership = changes.borrow_and_update().clone();
        let serving = matches!(ownership, Ownership::Serving { .. });
        if let Some(check) = &check {
            check.set(serving, ownership.to_string());
        }
        serving_gauge.set(f64::from(u8::from(serving)));
        if matches!(ownership, Ownership::Refused { .. }) {
            metrics::counter!(metric_names::SHARD_FAILED, &labels).increment(1);
        }
        if ownership.is_final() {
            return depth_gauge.set(0.0);
        }
        let mut told = None;
        let ended = loop {
            depth_gauge.set(mailbox.depth() as f64);
            let trouble = mailbox.inbox_trouble();
            stuck_gauge.set(f64::from(u8::from(trouble.is_some())));
            if let Some(check) = check.as_ref().filter(|_| trouble != told) {
                let inbox = trouble.iter().map(|trouble| format!("; {trouble}"));
                check.set(serving, format!("{ownership}{}", inbox.collect::<String>()));
                told = trouble;
            }
            tokio::select! {
                changed = changes.changed() => break changed.is_err(),
                () = tokio::time::sleep(DEPTH_EVERY) => {}
            }
        };
        if ended {
            serving_gauge.set(0.0);
            if let Some(check) = &check {
                check.not_ok("its thread has ended");
            }
            return;
        }
    }
}

/// The shards of all contexts that this process can run.
pub(crate) struct Host {
    contexts: BTreeMap<Context, Box<dyn AnyContextHost>>,
    pub(crate) map: watch::Sender<Arc<OwnerMap>>,
    pub(crate) status: watch::Sender<AgentStatus>,
}

impl Host {
    pub(crate) fn new() -> Self {
        Self {
            contexts: BTreeMap::new(),
            map: watch::Sender::new(Arc::default()),
            status: watch::Sender::new(AgentStatus::default()),
        }
    }

    pub(crate) fn add<B: BoundedContext, L: EventLog>(&mut self, context: ContextHost<B, L>) {
        self.contexts.insert(B::CONTEXT, Box::new(context));
    }

    /// Starts every shard of the contexts here: this process is alone.
    pub(crate) fn start_all(
        &mut self,
        shards: impl Iterator<Item = ShardId>,
    ) -> std::io::Result<()> {
        for shard in shards {
            if let Some(context) = self.contexts.get_mut(&shard.context) {
                context.start(shard.partition, Begin::TakeOver)?;
            }
        }
        Ok(())
    }

    /// Stops every shard. Returns whether all ended within `limit`. Blocks.
    pub(crate) fn stop_all(&mut self, limit: Duration) -> bool {
        std::thread::scope(|scope| {
            let stopping: Vec<_> = self
                .contexts
                .values_mut()
                .map(|context| scope.spawn(move || context.stop_all(limit)))
                .collect();
            let ended = stopping
                .into_iter()
                .map(|thread| thread.join().unwrap_or(false));
            !ended.collect::<Vec<_>>().contains(&false)
        })
    }
}

impl ShardHost for Host {
    fn running(&self) -> Vec<ShardId> {
        let contexts = self.contexts.values();
        contexts.flat_map(|context| context.running()).collect()
    }

    fn start(&mut self, shard: ShardId, begin: Begin) {
        let Some(context) = self.contexts.get_mut(&shard.context) else {
            return tracing::error!(%shard, "assigned here, but its context is not served here");
        };
        if let Err(error) = context.start(shard.partition, begin) {
            tracing::error!(%shard, %error, "no thread for a shard");
        }
    }

    fn serve(&mut self, shard: ShardId) {
        if let Some(context) = self.contexts.get_mut(&shard.context) {
            context.serve(shard.partition);
        }
    }

    fn stop(&mut self, shard: ShardId) {
        if let Some(context) = self.contexts.get_mut(&shard.context) {
            context.stop(shard.partition);
        }
    }

    fn ownership(&self, shard: ShardId) -> Option<Ownership> {
        self.contexts
            .get(&shard.context)?
            .ownership(shard.partition)
    }

    fn report(&mut self, map: &OwnerMap, status: &AgentStatus) {
        self.map.send_if_modified(|known| {
            let changed = **known != *map;
            if changed {
                *known = Arc::new(map.clone());
            }
            changed
        });
        self.status.send_if_modified(|known| {
            let changed = known != status;
            known.clone_from(status);
            changed
        });
    }
}
