//! Listening, serving until told to stop, and stopping within a limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use crate::config::Http;
use crate::health::Readiness;
use crate::metric_names;
use crate::metrics::Counted;

/// The exit status of a process that a second SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Connections that the system holds for us until they are accepted; it has a limit of its own
/// (`net.core.somaxconn`). A burst beyond it waits for its clients' second try, a second later.
const BACKLOG: u32 = 4_096;

/// How long to wait when the system has no file descriptor or memory for a connection.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(250);

/// The wish to stop, which every part of a service can wait for. Clones share it.
#[derive(Clone, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// One that only [`Shutdown::trigger`] sets off.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One that SIGTERM or SIGINT sets off. A second SIGINT ends the process at once with status
    /// 130, for whoever will not wait for the drain.
    ///
    /// # Errors
    ///
    /// When the system refuses a signal handler.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with signals enabled.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let triggered = shutdown.clone();
        tokio::spawn(async move {
            let mut interrupts = 0;
            loop {
                let name = tokio::select! {
                    _ = terminate.recv() => "SIGTERM",
                    _ = interrupt.recv() => "SIGINT",
                };
                interrupts += u32::from(name == "SIGINT");
                if interrupts > 1 {
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!(signal = name, "stopping");
                triggered.trigger();
            }
        });
        Ok(shutdown)
    }

    /// Asks everyone to stop. Idempotent.
    pub fn trigger(&self) {
        self.0.cancel();
    }

    /// Resolves once stopping has been asked for.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether stopping has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }

    /// The token behind it, for parts that take one.
    #[must_use]
    pub fn token(&self) -> CancellationToken {
        self.0.clone()
    }
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long to go on accepting with readiness withdrawn.
    pub delay: Duration,
    /// How long requests in flight may take after that.
    pub limit: Duration,
}

/// Why the service cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process listens there.
    #[error("port {} on {} is in use: stop what listens there, or set http.listen to another", .0.port(), .0.ip())]
    InUse(SocketAddr),
    /// Anything else, such as an address that is not this machine's or a port below 1024.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// Listens on `address`; port 0 takes a free one, which [`TcpListener::local_addr`] tells.
///
/// # Errors
///
/// A port in use, or an address that cannot be listened on.
pub fn bind(address: SocketAddr) -> Result<TcpListener, ListenError> {
    let listen = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // A port whose last connections the system still remembers is free all the same.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source: io::Error| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Other { address, source },
    })
}

/// How serving ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections with a request in flight that the drain limit cut off. 0 is a clean stop.
    pub cut_off: usize,
}

/// Serves until `shutdown`, then withdraws readiness, goes on for the drain delay, stops
/// accepting, lets requests in flight finish, and cuts off what the drain limit does not suffice
/// for. Idle connections are closed at once.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    http: &Http,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> Drained {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(%address, "listening");
    }
    let drain = http.drain();
    let mut server = Server {
        router,
        builder: builder(http),
        write_timeout: Duration::from_millis(http.write_timeout_ms),
        permits: Arc::new(Semaphore::new(
            http.max_connections.min(Semaphore::MAX_PERMITS),
        )),
        stop: CancellationToken::new(),
        connections: JoinSet::new(),
    };
    let leave = async {
        shutdown.requested().await;
        readiness.drain();
        tokio::time::sleep(drain.delay).await;
    };
    tokio::select! {
        () = leave => {}
        () = server.accept(&listener) => {}
    }
    drop(listener);
    server.drain(drain.limit).await
}

fn builder(http: &Http) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(http.idle_timeout_ms));
    builder
}

struct Server {
    router: Router,
    builder: http1::Builder,
    write_timeout: Duration,
    permits: Arc<Semaphore>,
    stop: CancellationToken,
    connections: JoinSet<()>,
}

impl Server {
    /// Accepts for ever, up to the limit on connections at a time.
    async fn accept(&mut self, listener: &TcpListener) {
        while let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
            match listener.accept().await {
                Ok((stream, _)) => self.spawn(stream, permit),
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
            while self.connections.try_join_next().is_some() {}
        }
    }

    fn spawn(&mut self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Answers are small and waited for: never hold one back to fill a packet.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.write_timeout));
        let stream = TokioIo::new(Box::pin(stream));
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.builder.serve_connection(stream, service);
        let stop = self.stop.clone();
        self.connections.spawn(async move {
            let _permit = permit;
            let _counted = Counted::new(metric_names::HTTP_CONNECTIONS);
            let mut connection = std::pin::pin!(connection);
            let result = tokio::select! {
                result = connection.as_mut() => result,
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "connection ended");
            }
        });
    }

    async fn drain(mut self, limit: Duration) -> Drained {
        self.stop.cancel();
        let all = async { while self.connections.join_next().await.is_some() {} };
        let in_time = tokio::time::timeout(limit, all).await.is_ok();
        let cut_off = self.connections.len();
        if !in_time {
            tracing::warn!(connections = cut_off, "the drain limit cut off requests");
            self.connections.shutdown().await;
        }
        Drained { cut_off }
    }
}

/// Errors of the connection that was to be accepted, not of the listener.
fn is_connection_error(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
