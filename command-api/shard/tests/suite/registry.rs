//! A schema registry that is away just when it is asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cartwright_events::SchemaTopic;
use cartwright_events::codec::Codec;
use cartwright_shard::{Ownership, Step};

use crate::rig::{Rig, version};
use crate::toy::add;

/// Knows every schema under an id of its own at boot, and as 1 and on, which the other writers of a
/// [`Rig`] use, while `away` is not set. Ends with the test's process.
fn registry(away: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let connection = connection.expect("a connection");
            serve(connection, away.load(Ordering::Relaxed)).expect("an answer");
        }
    });
    url
}

fn serve(mut connection: TcpStream, away: bool) -> std::io::Result<()> {
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().expect("a length");
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let path = first.split(' ').nth(1).expect("a path");
    let subject = |topic: &SchemaTopic| path.ends_with(&format!("/subjects/{}", topic.subject()));
    let known = SchemaTopic::ALL.iter().position(subject);
    let asked = path.rsplit_once("/schemas/ids/");
    let asked = asked.and_then(|(_, id)| id.parse::<usize>().ok());
    let (status, body) = match (known, asked) {
        _ if away => (503, "away".to_owned()),
        (Some(at), _) => (200, format!(r#"{{"id":{}}}"#, 101 + at)),
        (None, Some(id)) => {
            let schema = SchemaTopic::ALL[id - 1].schema();
            (200, serde_json::json!({ "schema": schema }).to_string())
        }
        (None, None) => (404, String::new()),
    };
    write!(
        connection,
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What it had read when the registry was asked is not lost.
#[test]
fn a_successor_is_not_ready_while_it_cannot_read_and_misses_nothing_afterwards() {
    let away = Arc::new(AtomicBool::new(false));
    let codec = Codec::connect(&registry(Arc::clone(&away))).expect("a codec");
    let mut rig = Rig::new();
    for _ in 0..3 {
        let _ = rig.decide(add("a"), None);
    }
    let mut successor = rig.rival_with(codec);
    away.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(successor.prepare().is_err());
        let ownership = successor.ownership().borrow().clone();
        assert!(
            matches!(ownership, Ownership::Recovering { .. }),
            "{ownership}"
        );
    }
    away.store(false, Ordering::Relaxed);
    assert_eq!(successor.prepare(), Ok(Step::Idle));
    assert_eq!(*successor.ownership().borrow(), Ownership::Standby);
    let _ = rig.decide(add("a"), None);
    assert_eq!(successor.take_over(), Ok(Step::Idle));
    std::mem::swap(&mut rig.shard, &mut successor);
    assert_eq!(version(rig.decide(add("a"), None)), 5);
}

#[test]
fn a_message_that_the_registry_is_needed_for_waits_and_holds_no_command_up() {
    let away = Arc::new(AtomicBool::new(false));
    let codec = Codec::connect(&registry(Arc::clone(&away))).expect("a codec");
    let mut rig = Rig::new();
    rig.shard = rig.rival_with(codec);
    assert_eq!(rig.shard.take_over(), Ok(Step::Idle));
    away.store(true, Ordering::Relaxed);
    rig.send("o-1", "a");
    assert_eq!(rig.step_inbox(), Step::Idle);
    assert!(rig.decide(add("a"), None).is_some());
    assert_eq!(rig.shard.inbox_position(), Some(0));
    away.store(false, Ordering::Relaxed);
    rig.clock.advance_millis(1_000);
    assert_eq!(rig.step(Vec::new()), Step::Committed);
    assert_eq!(rig.shard.inbox_position(), Some(1));
}
