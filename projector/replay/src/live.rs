//! What a running projector says of the projections that it feeds: shown beside what the stores say,
//! and never needed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;

/// How long it may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The longest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 * 1_024 * 1_024;

/// One version that it feeds.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Fed {
    /// The projection.
    pub projection: String,
    /// The version.
    pub version: u32,
    /// What it is doing.
    pub phase: String,
    /// Why it is not following.
    pub reason: Option<String>,
    /// The partitions that are this process's.
    pub partitions: Vec<FedPartition>,
}

/// One partition of it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct FedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: u32,
    /// Age in seconds of the oldest record that is not applied, at most.
    pub lag_seconds: Option<f64>,
    /// Why its position has not moved for long although the log has.
    pub stuck: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    projections: Vec<Fed>,
}

/// Where the projector listens that has these settings: a process on this machine, if any.
#[must_use]
pub fn url_of(listen: SocketAddr) -> String {
    let address = match listen.ip().is_unspecified() {
        true => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), listen.port()),
        false => listen,
    };
    format!("http://{address}")
}

/// Asks the projector at `url`.
///
/// # Errors
/// In words: nobody answers, or with something else.
pub fn ask(url: &str) -> Result<Vec<Fed>, String> {
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .build()
        .new_agent();
    let url = format!("{}/v1/projections", url.trim_end_matches('/'));
    let answer = agent.get(&url).call();
    let mut answer = answer.map_err(|error| format!("{url}: {error}"))?;
    let body = answer.body_mut().with_config().limit(MAX_ANSWER_BYTES);
    let text = body
        .read_to_string()
        .map_err(|error| format!("{url}: {error}"))?;
    let answer: Answer = serde_json::from_str(&text).map_err(|error| format!("{url}: {error}"))?;
    Ok(answer.projections)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        let url = |text: &str| url_of(text.parse().expect("an address"));
        assert_eq!(url("0.0.0.0:7003"), "http://127.0.0.1:7003");
        assert_eq!(url("10.0.0.1:7003"), "http://10.0.0.1:7003");
    }

    #[test]
    fn an_answer_is_read_and_no_answer_is_told() {
        let text = r#"{"projections": [{"projection": "orders", "version": 2, "phase": "waiting",
            "reason": "cassandra: gone", "since": "2026-01-01T00:00:00Z", "partitions": [
            {"topic": "t", "partition": 1, "position": null, "behind": 4, "lag_seconds": 2.5,
             "parked_keys": 0, "parked_records": 0, "stuck": "t[1] has stood still"}]}]}"#;
        let answer: Answer = serde_json::from_str(text).expect("read");
        let partition = &answer.projections[0].partitions[0];
        assert_eq!(partition.lag_seconds, Some(2.5));
        assert!(partition.stuck.is_some());
        assert!(ask("http://127.0.0.1:1").is_err());
    }
}
