//! Whether a part serves, asked in its own protocol.

use std::net::TcpStream;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use crate::cql;
use crate::part::Part;
use crate::ports::Ports;

/// How long one question may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// Asks a part once. The error says in one line why it does not serve.
///
/// # Errors
/// A line for people: what was asked and what came back.
pub async fn check(part: Part, ports: Ports) -> Result<(), String> {
    let question = async {
        match part {
            Part::Kafka => kafka(ports.kafka()).await,
            Part::Cassandra => cql::ping(&part.address(ports))
                .await
                .map_err(|e| e.to_string()),
            Part::Postgres => postgres(ports.postgres(), "postgres").await.map(drop),
            Part::Registry => {
                let subjects = format!("{}/apis/ccompat/v7/subjects", part.address(ports));
                http(&subjects).await.map_err(|refusal| refusal.0)
            }
            _ => readyz(&part.address(ports)).await,
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, question)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())))
}

/// A broker serves when it gives its cluster's metadata.
async fn kafka(port: u16) -> Result<(), String> {
    let ask = move || {
        // The client waits out its whole limit where nobody listens: look first.
        let address = ([127, 0, 0, 1], port).into();
        TcpStream::connect_timeout(&address, ANSWER_LIMIT).map_err(|e| e.to_string())?;
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", format!("127.0.0.1:{port}"))
            .set("log_level", "0")
            .create()
            .map_err(|e| e.to_string())?;
        let metadata = consumer
            .fetch_metadata(None, ANSWER_LIMIT)
            .map_err(|e| e.to_string())?;
        if metadata.brokers().is_empty() {
            return Err("its metadata names no broker yet".to_owned());
        }
        Ok(())
    };
    tokio::task::spawn_blocking(ask)
        .await
        .map_err(|e| e.to_string())?
}

/// Connects to a database and makes sure that it answers.
async fn postgres(port: u16, database: &str) -> Result<Client, String> {
    let settings =
        format!("host=127.0.0.1 port={port} user=postgres dbname={database} connect_timeout=3");
    let (client, connection) = tokio_postgres::connect(&settings, NoTls)
        .await
        .map_err(|e| describe(&e))?;
    tokio::spawn(connection);
    client
        .simple_query("select 1")
        .await
        .map_err(|e| describe(&e))?;
    Ok(client)
}

/// tokio-postgres says little in its own words; the cause tells.
fn describe(error: &tokio_postgres::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => cause.to_string(),
        None => error.to_string(),
    }
}

/// Makes a database unless it exists.
///
/// # Errors
/// A line for people.
pub async fn create_database(port: u16, name: &str) -> Result<(), String> {
    let client = postgres(port, "postgres").await?;
    let known = client
        .query_opt("select 1 from pg_database where datname = $1", &[&name])
        .await
        .map_err(|e| describe(&e))?;
    if known.is_none() {
        client
            .batch_execute(&format!("create database \"{name}\""))
            .await
            .map_err(|e| describe(&e))?;
    }
    Ok(())
}

/// Makes the keyspace unless it exists, replicated once: there is one node.
///
/// # Errors
/// A line for people.
pub async fn create_keyspace(address: &str, name: &str) -> Result<(), String> {
    let statement = format!(
        "CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'datacenter1': 1}}"
    );
    cql::execute(address, &statement)
        .await
        .map_err(|e| e.to_string())
}

/// A service says which of its checks stand in the way, and why.
async fn readyz(address: &str) -> Result<(), String> {
    let Refusal(said, body) = match http(&format!("{address}/readyz?verbose")).await {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let report: Value = serde_json::from_str(&body).unwrap_or_default();
    let checks = report["checks"].as_array().into_iter().flatten();
    let failing = checks.filter(|check| check["ok"] == false);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let reasons: Vec<String> = failing
        .map(|check| format!("{}: {}", text(&check["name"]), text(&check["detail"])))
        .collect();
    Err(match reasons.is_empty() {
        true => said,
        false => reasons.join("; "),
    })
}

/// Why a question was not answered well, in a line, and the body of the answer.
struct Refusal(String, String);

async fn http(url: &str) -> Result<(), Refusal> {
    let silent = |reason| Refusal(reason, String::new());
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_LIMIT)
        .build()
        .map_err(|e| silent(e.to_string()))?;
    let answer = client.get(url).send().await.map_err(|e| {
        silent(if e.is_connect() {
            format!("{url}: nobody listens")
        } else {
            format!("{url}: {e}")
        })
    })?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let body = answer.text().await.unwrap_or_default();
    Err(Refusal(format!("{url} answered {status}"), body))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_service_that_is_not_ready_says_what_stands_in_the_way() {
        let body = r#"{"ready":false,"draining":false,"checks":[
            {"name":"kafka","ok":true,"detail":"answers","for_s":1},
            {"name":"shards","ok":false,"detail":"inventory/0 refuses to serve","for_s":1}]}"#;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let service = async {
            let (mut caller, _) = listener.accept().await.unwrap();
            let mut question = [0; 1_024];
            let read = caller.read(&mut question).await.unwrap();
            assert!(question[..read].starts_with(b"GET /readyz?verbose "));
            let head = format!(
                "HTTP/1.1 503 Service Unavailable\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            caller.write_all((head + body).as_bytes()).await.unwrap();
        };
        let (told, ()) = tokio::join!(readyz(&address), service);
        assert_eq!(told, Err("shards: inventory/0 refuses to serve".to_owned()));
    }
}
