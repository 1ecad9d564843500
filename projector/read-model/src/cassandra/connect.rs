//! Connecting.

use std::time::Duration;

use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::statement::Consistency;

use crate::error::ReadModelError;

/// How long connecting to the cluster may take as a whole.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// How to reach the cluster, and how it is asked.
#[derive(Debug, Clone)]
pub struct CassandraOptions {
    /// Contact points as `host:port`.
    pub nodes: Vec<String>,
    /// The keyspace of the views: a plain lower-case name.
    pub keyspace: String,
    /// The data centre whose replicas answer.
    pub local_datacenter: String,
    /// Copies of each row in that data centre, when the keyspace is made. Not changed later.
    pub replication_factor: u32,
    /// User and password, where the cluster asks for them.
    pub credentials: Option<(String, String)>,
    /// Replicas that have to answer a read or a write.
    pub consistency: Consistency,
    /// How long one statement may take.
    pub request_timeout: Duration,
}

impl CassandraOptions {
    /// The defaults: `datacenter1`, one copy, LOCAL_QUORUM, 5 seconds.
    #[must_use]
    pub fn new(nodes: Vec<String>, keyspace: impl Into<String>) -> Self {
        Self {
            nodes,
            keyspace: keyspace.into(),
            local_datacenter: "datacenter1".to_owned(),
            replication_factor: 1,
            credentials: None,
            consistency: Consistency::LocalQuorum,
            request_timeout: Duration::from_secs(5),
        }
    }
}

/// Connects. The keyspace need not exist yet: every statement names it.
///
/// # Errors
/// [`ReadModelError::Cassandra`] when no node answers.
pub async fn connect(options: &CassandraOptions) -> Result<Session, ReadModelError> {
    let policy = DefaultPolicy::builder()
        .prefer_datacenter(options.local_datacenter.clone())
        .token_aware(true)
        .build();
    let profile = ExecutionProfile::builder()
        .consistency(options.consistency)
        .request_timeout(Some(options.request_timeout))
        .load_balancing_policy(policy)
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.nodes)
        .connection_timeout(options.request_timeout)
        .default_execution_profile_handle(profile.into_handle());
    if let Some((user, password)) = &options.credentials {
        builder = builder.user(user, password);
    }
    // The driver bounds what it asks over a connection, but not how long a node may take to greet it.
    match tokio::time::timeout(CONNECT_LIMIT, builder.build()).await {
        Ok(session) => session.map_err(ReadModelError::cassandra),
        Err(_) => Err(ReadModelError::cassandra(format!(
            "no answer in {} s",
            CONNECT_LIMIT.as_secs()
        ))),
    }
}
