//! Records that name a schema that this code does not have, with and without a registry that answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use cartwright_events::{Codec, SchemaTopic};

/// The schema that the records name.
pub const SCHEMA: u32 = 99;

/// The same record by a writer whose schema is [`SCHEMA`].
pub fn by_another_writer(mut value: Vec<u8>) -> Vec<u8> {
    value[1..5].copy_from_slice(&SCHEMA.to_be_bytes());
    value
}

/// A codec that can read these records of a topic: the schema is another one in name only.
pub fn that_knows(topic: SchemaTopic) -> Codec {
    Codec::in_memory([(SCHEMA, topic.schema().to_owned())])
}

/// A codec with the ids of [`Codec::fixed`] whose registry has gone away since it was made.
pub fn without_registry() -> Codec {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let registry = std::thread::spawn(move || {
        for id in 1..=SchemaTopic::ALL.len() {
            let (connection, _) = listener.accept().expect("a question");
            answer(connection, id);
        }
    });
    let codec = Codec::connect(&format!("http://{address}")).expect("it is there");
    registry.join().expect("it has answered");
    codec
}

fn answer(connection: TcpStream, id: usize) {
    let mut reader = BufReader::new(&connection);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().expect("a number");
        }
        if line.is_empty() {
            break;
        }
    }
    std::io::copy(
        &mut std::io::Read::take(reader, length),
        &mut std::io::sink(),
    )
    .expect("a body");
    let body = format!(r#"{{"id":{id}}}"#);
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n");
    (&connection)
        .write_all((head + &body).as_bytes())
        .expect("answered");
}
