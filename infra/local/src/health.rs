//! Whether a part serves, asked in its own protocol.

use std::net::TcpStream;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
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
                http(&format!("{}/apis/ccompat/v7/subjects", part.address(ports))).await
            }
            _ => http(&format!("{}/readyz", part.address(ports))).await,
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

async fn http(url: &str) -> Result<(), String> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(ANSWER_LIMIT)
        .build()
        .map_err(|e| e.to_string())?;
    let answer = client.get(url).send().await.map_err(|e| {
        if e.is_connect() {
            format!("{url}: nobody listens")
        } else {
            format!("{url}: {e}")
        }
    })?;
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(format!("{url} answered {}", answer.status()))
    }
}
