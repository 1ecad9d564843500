//! Requests of shoppers: sent, lost or doubled on their way, and put before a shard.

use cartwright_domain::BoundedContext;
use cartwright_events::Timestamp;
use cartwright_events::partition::partition_of;
use cartwright_shard::{IdempotencyKey, Reply, Submission};
use tokio::sync::oneshot;

use super::{PARTITIONS, World};
use crate::bug::Bug;
use crate::network::Request;
use crate::node::Node;
use crate::script::Command;
use crate::shopper::{ANEW, Asked, Wish};

impl World {
    /// A shopper looks for answers, and sends what comes next.
    pub(super) fn shop(&mut self) -> Result<(), String> {
        // The owner opens the shop before anybody comes.
        let who = match self.shoppers[0].is_done() {
            true => self.sim.below(self.shoppers.len()),
            false => 0,
        };
        match self.shoppers[who].next()? {
            Wish::Send(asked) => {
                self.sim.trace(&format!("send {}", asked.key));
                let copies = 1 + usize::from(self.sim.fault("request duplicated", 150));
                for _ in 0..copies {
                    let request = self.request(who, asked.clone());
                    self.network.send(request);
                }
            }
            Wish::Ask(key, ticket) => self.ask(who, &key, &ticket),
            Wish::Wait | Wish::Done => {}
        }
        self.begin_anew();
        // Now and then an old request arrives once more, or its key with another request.
        let choice = self.sim.below(100);
        let Some(asked) = self.shoppers[who].earlier(choice) else {
            return Ok(());
        };
        // Where keys are forgotten another request would be the first one.
        let misused = !self.forgets() && self.sim.fault("key reused for another request", 30);
        if misused || self.sim.fault("old request repeated", 50) {
            let request = self.request(who, asked);
            self.network.send(Request { misused, ..request });
        }
        Ok(())
    }

    /// Somebody who has forgotten that he was here creates his cart once more, or the owner a product,
    /// under another key: it may have left memory, and is there all the same.
    fn begin_anew(&mut self) {
        let who = self.sim.below(self.shoppers.len());
        let Some(first) = self.shoppers[who].earlier(0) else {
            return;
        };
        if self.sim.fault("created once more under another key", 30) {
            let key = format!("{}{ANEW}{}", first.key, self.keys.len());
            let request = self.request(who, Asked { key, ..first });
            self.network.send(request);
        }
    }

    /// A request, a quarter of them with a caller that does not wait, also where one like it had one
    /// that did.
    fn request(&self, who: usize, asked: Asked) -> Request {
        Request {
            who,
            asked,
            misused: false,
            queued: self.sim.below(4) == 0,
        }
    }

    /// The network hands over one of the requests that are under way.
    pub(super) fn deliver(&mut self) {
        let Some(request) = self.network.take(&self.sim) else {
            return;
        };
        if request.queued {
            return self.queue(request);
        }
        let reply = self.submit(&request);
        let who = &mut self.shoppers[request.who];
        if request.misused {
            who.expect_refusal(&request.asked.key, reply);
        } else if !self.sim.fault("answer lost on its way", 40) {
            who.expect(&request.asked.key, reply);
        }
    }

    /// The id of a command that arrives, and its key.
    pub(super) fn identify(&mut self, request: &Request) -> (String, IdempotencyKey) {
        let command_id = format!("command-{}", self.keys.len() + 1);
        let key = request.asked.key.clone();
        self.keys.insert(command_id.clone(), key.clone());
        let fingerprint = match request.misused && !self.sim.has(Bug::ResultOfAnotherPayload) {
            true => "another request".to_owned(),
            false => key.clone(),
        };
        (command_id, IdempotencyKey { key, fingerprint })
    }

    /// The version that the edge hands on.
    pub(super) fn expected_version(&self, asked: &Asked) -> Option<u64> {
        let forgets = self.sim.has(Bug::ForgetIfMatch);
        asked.expected_version.filter(|_| !forgets)
    }

    fn submit(&mut self, request: &Request) -> oneshot::Receiver<Reply> {
        let (command_id, idempotency) = self.identify(request);
        let patience = self.sim.between(10..60_000);
        let post = Post {
            command_id,
            idempotency,
            expected_version: self.expected_version(&request.asked),
            deadline: self.sim.now().plus_millis(patience),
        };
        match &request.asked.command {
            Command::Catalog(command) => post.to(&mut self.catalog, command),
            Command::Inventory(command) => post.to(&mut self.inventory, command),
            Command::Checkout(command) => post.to(&mut self.checkout, command),
        }
    }
}

/// A request at the edge.
struct Post {
    command_id: String,
    idempotency: IdempotencyKey,
    expected_version: Option<u64>,
    deadline: Timestamp,
}

impl Post {
    fn to<B: BoundedContext + Clone>(
        self,
        nodes: &mut [Node<B>],
        command: &B::Command,
    ) -> oneshot::Receiver<Reply>
    where
        B::Command: Clone,
    {
        let (reply, receiver) = oneshot::channel();
        let partition = partition_of(B::key(command), PARTITIONS) as usize;
        nodes[partition].submit(Submission {
            command: command.clone(),
            correlation_id: self.command_id.clone(),
            command_id: self.command_id,
            traceparent: None,
            idempotency: Some(self.idempotency),
            expected_version: self.expected_version,
            deadline: self.deadline,
            reply,
        });
        receiver
    }
}
