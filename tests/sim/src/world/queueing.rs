//! Commands whose callers do not wait: the edge writes them into the inbox of their shard, and callers
//! ask later what became of them.

use std::sync::Arc;

use cartwright_domain::{BoundedContext, Catalog, Checkout, Inventory};
use cartwright_event_log::{EventLog as _, LogWriter as _, NewRecord};
use cartwright_events::codec::Codec;
use cartwright_events::envelope::header;
use cartwright_events::messages::SubmitCommand;
use cartwright_events::partition::partition_of;
use cartwright_events::{Context, Message};
use cartwright_shard::{IdempotencyKey, Lookup};
use tokio::sync::oneshot;

use super::{PARTITIONS, World};
use crate::bug::Bug;
use crate::log::{SimLog, SimWriter};
use crate::network::Request;
use crate::shopper::Command;
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
    /// Connected when it is first needed, and again after a doubt.
    writer: Option<SimWriter>,
}

impl Edge {
    pub(super) fn new(log: &SimLog) -> Self {
        Self {
            log: log.clone(),
            writer: None,
        }
    }

    /// Writes a record; returns its offset once it is durable. A process that is killed meanwhile is
    /// followed by another.
    fn put(&mut self, record: NewRecord) -> Option<u64> {
        if self.log.sim.shows(Bug::QueueWithoutTheLog, 200) {
            return Some(0);
        }
        let mut writer = self.writer.take();
        let written = Sim::alive(|| {
            if writer.as_ref().is_none_or(SimWriter::needs_take_over) {
                let mut fresh = self.log.writer("edge").ok()?;
                fresh.take_over().ok()?;
                writer = Some(fresh);
            }
            writer.as_mut()?.commit(vec![record]).ok()
        });
        let receipt = written??;
        self.writer = writer.filter(|_| !receipt.doubtful);
        receipt.offsets.first().copied()
    }
}

impl World {
    /// Queues a request, and gives its caller the ticket unless the answer is lost.
    pub(super) fn queue(&mut self, request: Request) {
        let (command_id, idempotency) = self.identify(&request);
        let record = match &request.command {
            Command::Catalog(command) => record::<Catalog>(command, &command_id, idempotency),
            Command::Inventory(command) => record::<Inventory>(command, &command_id, idempotency),
            Command::Checkout(command) => record::<Checkout>(command, &command_id, idempotency),
        };
        let partition = record.partition as usize;
        self.sim
            .trace(&format!("queue {} as {command_id}", request.key));
        let offset = self.edge.put(record);
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
                context: request.command.context(),
                partition,
                command_id,
                offset,
            };
            let who = &mut self.shoppers[request.who];
            who.tickets.give(request.key, ticket);
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
        match ticket.context {
            Context::Catalog => self.catalog[ticket.partition].look_up(lookup),
            Context::Inventory => self.inventory[ticket.partition].look_up(lookup),
            Context::Checkout => self.checkout[ticket.partition].look_up(lookup),
        }
        self.shoppers[who].tickets.expect(key, found);
    }
}

/// The record of a command in the inbox of the shard that decides it.
fn record<B: BoundedContext>(
    command: &B::Command,
    command_id: &str,
    idempotency: IdempotencyKey,
) -> NewRecord {
    let aggregate_id = B::key(command).to_owned();
    let message = Message::SubmitCommand(SubmitCommand {
        context: B::CONTEXT,
        aggregate_id: aggregate_id.clone(),
        command_id: command_id.to_owned(),
        idempotency_key: Some(idempotency.key),
        fingerprint: idempotency.fingerprint,
        expected_version: None,
        command: serde_json::to_string(command).expect("a command is JSON"),
    });
    let text = |text: &str| text.as_bytes().to_vec();
    NewRecord {
        topic: Arc::from(B::CONTEXT.inbox_topic()),
        partition: partition_of(&aggregate_id, PARTITIONS),
        key: text(message.key()),
        value: Some(Codec::fixed().encode_message(B::CONTEXT, &message)),
        headers: vec![
            (header::CE_TYPE, text(message.type_name())),
            (header::COMMAND_ID, text(command_id)),
            (header::CORRELATION_ID, text(command_id)),
        ],
    }
}
