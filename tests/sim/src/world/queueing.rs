//! Commands whose callers do not wait: the edge writes them into the inbox of their shard, and callers
//! ask later what became of them.

use cartwright_domain::{BoundedContext, Catalog, Checkout, Inventory};
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::partition::partition_of;
use cartwright_shard::nodes::ShardId;
use cartwright_shard::{InboxWriter, Lookup, QueuedCommand};
use tokio::sync::oneshot;

use super::{PARTITIONS, World};
use crate::bug::Bug;
use crate::log::SimLog;
use crate::network::Request;
use crate::script::Command;
use crate::shopper::Asked;
use crate::sim::Sim;
use crate::ticket::Ticket;

/// A command that the edge was asked to queue.
pub(crate) struct Queued {
    /// Whether its key belongs to another request.
    pub(crate) misused: bool,
    /// Whether the edge knows it to be in the inbox: what a 202 says.
    pub(crate) is_durable: bool,
}

/// The process at the edge that writes to inboxes.
pub(super) struct Edge {
    log: SimLog,
    inboxes: InboxWriter<SimLog>,
}

impl Edge {
    pub(super) fn new(log: &SimLog) -> Self {
        Self {
            log: log.clone(),
            inboxes: InboxWriter::new(log.clone(), Codec::fixed(), "edge"),
        }
    }

    /// Writes a command; returns its offset once it is durable. A process that is killed meanwhile is
    /// followed by another.
    fn put(&mut self, command: &QueuedCommand) -> Option<u64> {
        if self.log.sim.shows(Bug::QueueWithoutTheLog, 200) {
            return Some(0);
        }
        let Some(written) = Sim::alive(|| self.inboxes.write([command])) else {
            *self = Self::new(&self.log);
            return None;
        };
        written.ok()?.first().copied()
    }
}

impl World {
    /// Queues a request, and gives its caller the ticket unless the answer is lost.
    pub(super) fn queue(&mut self, request: Request) {
        let (command_id, idempotency) = self.identify(&request);
        let Asked { key, command, .. } = &request.asked;
        let (context, aggregate_id, json) = match command {
            Command::Catalog(command) => described::<Catalog>(command),
            Command::Inventory(command) => described::<Inventory>(command),
            Command::Checkout(command) => described::<Checkout>(command),
        };
        let shard = ShardId {
            context,
            partition: partition_of(&aggregate_id, PARTITIONS),
        };
        let command = QueuedCommand {
            shard,
            command: SubmitCommand {
                context,
                aggregate_id,
                command_id: command_id.clone(),
                idempotency_key: Some(idempotency.key),
                fingerprint: idempotency.fingerprint,
                expected_version: self.expected_version(&request.asked),
                command: json,
            },
            time: self.sim.now(),
            correlation_id: command_id.clone(),
            traceparent: String::new(),
            after: None,
        };
        self.sim.trace(&format!("queue {key} as {command_id}"));
        let offset = self.edge.put(&command);
        let note = Queued {
            misused: request.misused,
            is_durable: offset.is_some(),
        };
        self.queued.insert(command_id.clone(), note);
        // Nobody asks for what he has no right to.
        let Some(offset) = offset.filter(|_| !request.misused) else {
            return;
        };
        if !self.sim.fault("answer lost on its way", 40) {
            let ticket = Ticket {
                shard,
                command_id,
                offset,
            };
            let who = &mut self.shoppers[request.who];
            who.tickets.give(request.asked.key, ticket);
        }
    }

    /// Asks a shard what became of a queued command.
    pub(super) fn ask(&mut self, who: usize, key: &str, ticket: &Ticket) {
        self.sim.trace(&format!("ask for {key}"));
        let (reply, found) = oneshot::channel();
        let lookup = Lookup {
            command_id: ticket.command_id.clone(),
            offset: ticket.offset,
            reply,
        };
        let partition = ticket.shard.partition as usize;
        match ticket.shard.context {
            Context::Catalog => self.catalog[partition].look_up(lookup),
            Context::Inventory => self.inventory[partition].look_up(lookup),
            Context::Checkout => self.checkout[partition].look_up(lookup),
        }
        self.shoppers[who].tickets.expect(key, ticket, found);
    }
}

/// The context of a command, its aggregate and itself as JSON.
fn described<B: BoundedContext>(command: &B::Command) -> (Context, String, String) {
    let json = serde_json::to_string(command).expect("a command is JSON");
    (B::CONTEXT, B::key(command).to_owned(), json)
}
