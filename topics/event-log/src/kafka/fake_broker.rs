//! A broker that knows one topic and answers for its cluster's metadata alone: for what real brokers do in
//! rare moments only.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::context::ConsumerCallbacks;
use super::options::KafkaOptions;

const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const UNSUPPORTED_VERSION: i16 = 35;
const LEADER_NOT_AVAILABLE: i16 = 5;
const ID: i32 = 1;

pub(super) struct FakeBroker {
    port: u16,
    forgets: Arc<AtomicBool>,
}

impl FakeBroker {
    pub(super) const TOPIC: &str = "t";

    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let forgets = Arc::new(AtomicBool::new(false));
        let says = Arc::clone(&forgets);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let says = Arc::clone(&says);
                // Until the client hangs up.
                thread::spawn(move || serve(stream, port, &says));
            }
        });
        Self { port, forgets }
    }

    /// Of clients that do not wait for it long.
    pub(super) fn options(&self) -> KafkaOptions {
        let mut options = KafkaOptions::new(format!("127.0.0.1:{}", self.port));
        options.request_timeout = Duration::from_secs(1);
        options
    }

    /// Says now and then that the cluster has no broker, until `client` asks nobody any more. Whether it
    /// does is a matter of its threads: of three times once, about.
    pub(super) fn mislead(&self, client: &BaseConsumer<ConsumerCallbacks>) {
        let ask = |millis| client.fetch_metadata(Some(Self::TOPIC), Duration::from_millis(millis));
        for _ in 0..100 {
            self.forgets.store(true, Ordering::SeqCst);
            for _ in 0..3 {
                let _ = ask(50);
            }
            self.forgets.store(false, Ordering::SeqCst);
            if ask(500).is_err() && ask(4_000).is_err() {
                return;
            }
        }
        panic!("a client that was told of no broker finds one again: no need to replace it");
    }
}

fn serve(mut stream: TcpStream, port: u16, forgets: &AtomicBool) -> Option<()> {
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).ok()?;
        let mut request = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut request).ok()?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let mut answer = Answer(request[4..8].to_vec());
        match (number(0), number(2)) {
            (API_VERSIONS, version) => answer.api_versions(version),
            (LIST_OFFSETS, _) => answer.offsets(),
            (METADATA, _) => answer.metadata(port, forgets.load(Ordering::SeqCst)),
            _ => return None,
        }
        let length = u32::try_from(answer.0.len()).ok()?;
        stream.write_all(&length.to_be_bytes()).ok()?;
        stream.write_all(&answer.0).ok()?;
    }
}

/// Begins with the request's correlation id.
struct Answer(Vec<u8>);

impl Answer {
    fn short(&mut self, number: i16) {
        self.0.extend(number.to_be_bytes());
    }

    fn int(&mut self, number: i32) {
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.short(i16::try_from(text.len()).unwrap_or_default());
        self.0.extend(text.as_bytes());
    }

    /// Version 0 of it, and version 1 of the others: they are the simplest.
    fn api_versions(&mut self, asked: i16) {
        self.short(if asked == 0 { 0 } else { UNSUPPORTED_VERSION });
        self.int(3);
        let known = [[LIST_OFFSETS, 1, 1], [METADATA, 1, 1], [API_VERSIONS, 0, 0]];
        for number in known.into_iter().flatten() {
            self.short(number);
        }
    }

    /// There is nothing in it.
    fn offsets(&mut self) {
        self.int(1);
        self.text(FakeBroker::TOPIC);
        self.int(1);
        self.int(0);
        self.short(0);
        self.0.extend([0; 16]); // Time and offset.
    }

    fn metadata(&mut self, port: u16, forgets: bool) {
        self.int(i32::from(!forgets));
        if !forgets {
            self.int(ID);
            self.text("127.0.0.1");
            self.int(i32::from(port));
            self.short(-1); // No rack.
        }
        self.int(if forgets { -1 } else { ID }); // The controller.
        self.int(1);
        self.short(0);
        self.text(FakeBroker::TOPIC);
        self.0.push(0); // Not internal.
        self.int(1);
        self.short(if forgets { LEADER_NOT_AVAILABLE } else { 0 });
        self.int(0);
        self.int(if forgets { -1 } else { ID });
        for _ in ["replicas", "in sync"] {
            self.int(1);
            self.int(ID);
        }
    }
}
