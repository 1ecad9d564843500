//! Several nodes of the service over one log, each listening on a port of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use cartwright_command_api::app::{App, Running};
use cartwright_command_api::routes;
use cartwright_event_log::memory::MemoryLog;
use cartwright_events::Context;
use cartwright_events::codec::Codec;
use cartwright_events::partition::partition_of;
use cartwright_service::health::Readiness;
use cartwright_service::shutdown::{self, Shutdown};
use cartwright_service::{app, metrics};
use cartwright_shard::nodes::{NodeId, OwnerMap, ShardId};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::harness::{Answer, Call, PARTITIONS, log, settings, until};

pub const LIMIT: Duration = Duration::from_secs(20);
const SHARDS: usize = 3 * PARTITIONS as usize;

pub type Http = Client<HttpConnector, Body>;

/// One node, listening.
pub struct Node {
    pub id: NodeId,
    pub address: SocketAddr,
    pub app: App,
    pub readiness: Readiness,
    running: Running,
    drain: Shutdown,
    serving: JoinHandle<shutdown::Drained>,
}

impl Node {
    pub async fn start(log: &MemoryLog, number: usize, more: &str) -> Self {
        Self::reached_at(log, number, None, more).await
    }

    /// One that tells the others to reach it at another address, if one is given.
    pub async fn reached_at(
        log: &MemoryLog,
        number: usize,
        elsewhere: Option<SocketAddr>,
        more: &str,
    ) -> Self {
        let listener = shutdown::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let reached = elsewhere.unwrap_or(address);
        let nodes = format!(
            "[nodes]\nid = \"node-{number}\"\naddress = \"http://{reached}\"\n\
             [nodes.times]\nbeat_ms = 30\ndead_after_ms = 1000\nlook_ms = 2\n{more}"
        );
        let config = settings(&nodes);
        let readiness = Readiness::new();
        let (app, running) = App::start(&config, log, &Codec::fixed(), &readiness).unwrap();
        let metrics = metrics::install().unwrap();
        let router = routes::router(app.clone());
        let router = app::assemble(router, &config.http, &readiness, &metrics);
        let drain = Shutdown::new();
        let serving = tokio::spawn({
            let (readiness, drain) = (readiness.clone(), drain.clone());
            async move { shutdown::serve(listener, router, &config.http, &readiness, &drain).await }
        });
        Self {
            id: NodeId(format!("node-{number}")),
            address,
            app,
            readiness,
            running,
            drain,
            serving,
        }
    }

    /// As the program does it at SIGTERM.
    pub async fn stop(self) {
        self.readiness.drain();
        self.running.leave(LIMIT).await;
        self.drain.trigger();
        assert_eq!(self.serving.await.unwrap().cut_off, 0);
        let running = self.running;
        let stopped = tokio::task::spawn_blocking(move || running.stop(LIMIT)).await;
        assert!(stopped.unwrap(), "the shards did not stop");
    }

    pub fn map(&self) -> OwnerMap {
        (**self.app.peers.as_ref().unwrap().map.borrow()).clone()
    }

    pub fn owns(&self, shard: ShardId) -> bool {
        let map = self.map();
        map.get(shard).is_some_and(|now| now.owner.node == self.id)
    }
}

pub struct Cluster {
    pub log: MemoryLog,
    pub nodes: Vec<Node>,
    pub http: Http,
}

impl Cluster {
    pub async fn of(count: usize, more: &str) -> Self {
        let log = log();
        let mut nodes = Vec::new();
        for number in 1..=count {
            nodes.push(Node::start(&log, number, more).await);
        }
        let cluster = Self {
            log,
            nodes,
            http: client(),
        };
        cluster.settled().await;
        cluster
    }

    /// Every shard has an owner among the nodes, evenly, and all know it.
    pub async fn settled(&self) {
        until(|| {
            let maps: Vec<OwnerMap> = self.nodes.iter().map(Node::map).collect();
            let mut loads: HashMap<NodeId, usize> =
                self.nodes.iter().map(|node| (node.id.clone(), 0)).collect();
            for (_, now) in maps[0].iter() {
                if now.successor.is_some() || !loads.contains_key(&now.owner.node) {
                    return false;
                }
                *loads.get_mut(&now.owner.node).unwrap() += 1;
            }
            let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
            maps[0].iter().count() == SHARDS
                && most - least <= 1
                && maps.iter().all(|map| *map == maps[0])
                && self.nodes.iter().all(|node| node.readiness.is_ready())
        })
        .await;
    }

    pub async fn send(&self, node: usize, call: Call) -> Answer {
        send(&self.http, self.nodes[node].address, call)
            .await
            .unwrap()
    }

    pub fn owner_of(&self, shard: ShardId) -> usize {
        self.nodes.iter().position(|node| node.owns(shard)).unwrap()
    }

    pub async fn stop(self) {
        for node in self.nodes {
            node.stop().await;
        }
    }
}

pub fn client() -> Http {
    Client::builder(TokioExecutor::new()).build(HttpConnector::new())
}

pub async fn send(http: &Http, address: SocketAddr, call: Call) -> Result<Answer, String> {
    let mut request = call.request();
    let path = request.uri().path().to_owned();
    *request.uri_mut() = format!("http://{address}{path}").parse().unwrap();
    let response = http.request(request).await;
    let (parts, body) = response.map_err(|error| format!("{error:?}"))?.into_parts();
    let body = body.collect().await.map_err(|error| error.to_string())?;
    Ok(Answer {
        status: parts.status,
        headers: parts.headers,
        body: body.to_bytes().to_vec(),
    })
}

pub fn stock_of(sku: &str) -> ShardId {
    ShardId {
        context: Context::Inventory,
        partition: partition_of(sku, PARTITIONS),
    }
}

pub fn cart_of(id: &str) -> ShardId {
    ShardId {
        context: Context::Checkout,
        partition: partition_of(id, PARTITIONS),
    }
}

pub fn receipt(sku: &str) -> Call {
    Call::post(&format!("/v1/stock/{sku}/receipts")).json(&json!({"quantity": 5}))
}
