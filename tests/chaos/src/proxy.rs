//! A proxy on the way to one listener, which can be cut, silenced or slowed down.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What the way is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Open,
    /// Every chunk, in both directions, waits for so long.
    Slow(Duration),
    /// Connections break, and no new one is taken.
    Cut,
    /// Nothing arrives and nothing breaks: lost packets. What waited is carried when the way opens, as
    /// TCP would repeat it.
    Silent,
}

/// A handle to a proxy; clones share it.
#[derive(Clone)]
pub(crate) struct Proxy {
    way: Arc<watch::Sender<Way>>,
    /// Connections that were broken or refused.
    cut: Arc<AtomicU64>,
    /// Chunks that were carried.
    carried: Arc<AtomicU64>,
    /// Chunks that were held back until the way was open again.
    silenced: Arc<AtomicU64>,
    /// Chunks that came later.
    slowed: Arc<AtomicU64>,
}

impl Proxy {
    /// Listens on `from` and connects to `to`, both on loopback.
    pub(crate) async fn start(from: u16, to: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", from)).await?;
        let proxy = Self {
            way: Arc::new(watch::Sender::new(Way::Open)),
            cut: Arc::default(),
            carried: Arc::default(),
            silenced: Arc::default(),
            slowed: Arc::default(),
        };
        let handle = proxy.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let proxy = handle.clone();
                tokio::spawn(async move { proxy.carry(near, to).await });
            }
        });
        Ok(proxy)
    }

    pub(crate) fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// Chunks that were carried so far.
    pub(crate) fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }

    /// How often a way that is like `way` has disturbed something so far.
    pub(crate) fn disturbed(&self, way: Way) -> u64 {
        match way {
            Way::Open => 0,
            Way::Slow(_) => self.slowed.load(Ordering::Relaxed),
            Way::Cut => self.cut.load(Ordering::Relaxed),
            Way::Silent => self.silenced.load(Ordering::Relaxed),
        }
    }

    async fn carry(self, near: TcpStream, to: u16) {
        let mut way = self.way.subscribe();
        if *way.borrow() == Way::Cut {
            self.cut.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let Ok(far) = TcpStream::connect(("127.0.0.1", to)).await else {
            return;
        };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        tokio::select! {
            () = self.copy(near_read, far_write) => {}
            () = self.copy(far_read, near_write) => {}
            _ = way.wait_for(|way| *way == Way::Cut) => {
                self.cut.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn copy(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut way = self.way.subscribe();
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            let now = *way.borrow_and_update();
            match now {
                Way::Open | Way::Cut => {}
                Way::Slow(by) => {
                    self.slowed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(by).await;
                }
                Way::Silent => {
                    self.silenced.fetch_add(1, Ordering::Relaxed);
                    if way.wait_for(|way| *way != Way::Silent).await.is_err() {
                        return;
                    }
                }
            }
            self.carried.fetch_add(1, Ordering::Relaxed);
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_manner_of_disturbing_is_counted_by_itself() {
        let behind = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let to = behind.local_addr().unwrap().port();
        let free = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let from = free.local_addr().unwrap().port();
        drop(free);
        let proxy = Proxy::start(from, to).await.unwrap();
        let all =
            || [Way::Cut, Way::Silent, Way::Slow(Duration::ZERO)].map(|way| proxy.disturbed(way));

        let mut near = TcpStream::connect(("127.0.0.1", from)).await.unwrap();
        let (mut far, _) = behind.accept().await.unwrap();
        near.write_all(b"a").await.unwrap();
        far.read_u8().await.unwrap();
        assert_eq!(all(), [0, 0, 0]);

        proxy.set(Way::Slow(Duration::from_millis(1)));
        near.write_all(b"b").await.unwrap();
        far.read_u8().await.unwrap();
        assert_eq!(all(), [0, 0, 1]);

        proxy.set(Way::Silent);
        near.write_all(b"c").await.unwrap();
        while proxy.disturbed(Way::Silent) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(all(), [0, 1, 1]);

        proxy.set(Way::Cut);
        while proxy.disturbed(Way::Cut) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(all(), [1, 1, 1]);
    }
}
