//! As much of CQL's binary protocol (version 4) as it takes to ask whether a node serves and to make a keyspace.
//!
//! Source: Apache Cassandra, `native_protocol_v4.spec`.

use std::io::{Error, ErrorKind, Result};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const REQUEST_V4: u8 = 0x04;
const OP_ERROR: u8 = 0x00;
const OP_STARTUP: u8 = 0x01;
const OP_READY: u8 = 0x02;
const OP_OPTIONS: u8 = 0x05;
const OP_SUPPORTED: u8 = 0x06;
const OP_QUERY: u8 = 0x07;
const OP_RESULT: u8 = 0x08;
const CONSISTENCY_ONE: u16 = 0x0001;
const HEADER_BYTES: usize = 9;
/// No answer to what is asked here comes near this size.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Asks a node what it supports, which it answers as soon as it takes clients.
///
/// # Errors
/// Any I/O error, or an answer that is none to the question.
pub async fn ping(address: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    exchange(&mut stream, OP_OPTIONS, &[], OP_SUPPORTED).await
}

/// Runs one statement at consistency ONE.
///
/// # Errors
/// Any I/O error; a statement the node refuses gives its message.
pub async fn execute(address: &str, statement: &str) -> Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    exchange(&mut stream, OP_STARTUP, &startup_body(), OP_READY).await?;
    exchange(&mut stream, OP_QUERY, &query_body(statement), OP_RESULT).await
}

async fn exchange(stream: &mut TcpStream, opcode: u8, body: &[u8], wanted: u8) -> Result<()> {
    stream.write_all(&frame(opcode, body)).await?;
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]) as usize;
    if length > MAX_BODY_BYTES {
        return Err(Error::new(
            ErrorKind::InvalidData,
            "the answer is no CQL frame",
        ));
    }
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).await?;
    match header[4] {
        got if got == wanted => Ok(()),
        OP_ERROR => Err(Error::other(error_message(&answer))),
        got => Err(Error::new(
            ErrorKind::InvalidData,
            format!("answered with opcode {got:#04x} instead of {wanted:#04x}"),
        )),
    }
}

fn frame(opcode: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = vec![REQUEST_V4, 0, 0, 0, opcode];
    frame.extend((body.len() as u32).to_be_bytes());
    frame.extend(body);
    frame
}

/// A string map with the one entry every client must send.
fn startup_body() -> Vec<u8> {
    let mut body = 1u16.to_be_bytes().to_vec();
    for text in ["CQL_VERSION", "3.0.0"] {
        body.extend((text.len() as u16).to_be_bytes());
        body.extend(text.as_bytes());
    }
    body
}

fn query_body(statement: &str) -> Vec<u8> {
    let mut body = (statement.len() as u32).to_be_bytes().to_vec();
    body.extend(statement.as_bytes());
    body.extend(CONSISTENCY_ONE.to_be_bytes());
    body.push(0);
    body
}

/// An ERROR body is a code and a string.
fn error_message(body: &[u8]) -> String {
    let text = body.get(6..).unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn node_that_answers(opcode: u8, body: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; HEADER_BYTES];
            stream.read_exact(&mut request).await.unwrap();
            assert_eq!(request, [4, 0, 0, 0, OP_OPTIONS, 0, 0, 0, 0]);
            let mut answer = vec![0x84, 0, 0, 0, opcode];
            answer.extend((body.len() as u32).to_be_bytes());
            answer.extend(body);
            stream.write_all(&answer).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn a_node_that_lists_its_options_serves() {
        let address = node_that_answers(OP_SUPPORTED, &[0, 0]).await;
        ping(&address).await.unwrap();
    }

    #[tokio::test]
    async fn a_refusal_carries_the_nodes_own_words() {
        let address = node_that_answers(OP_ERROR, b"\0\0\x10\0\0\x04busy").await;
        assert_eq!(ping(&address).await.unwrap_err().to_string(), "busy");
    }

    #[test]
    fn a_query_body_is_a_long_string_a_consistency_and_no_flags() {
        assert_eq!(query_body("ab"), [0, 0, 0, 2, b'a', b'b', 0, 1, 0]);
    }
}
