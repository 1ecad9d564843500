//! Requests that librdkafka can't make, each over a connection of its own: they are made when something
//! is wrong, or about to be.

use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use crate::LogError;

/// The longest answer that is read, bytes.
const LONGEST_ANSWER: usize = 16 * 1_024 * 1_024;

pub(super) struct Wire {
    pub(super) timeout: Duration,
}

impl Wire {
    /// One request to `broker` (`host:port`), by `version` of its protocol.
    pub(super) fn send<Q, A>(
        &self,
        broker: &str,
        key: ApiKey,
        version: i16,
        request: &Q,
    ) -> Result<A, LogError>
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        let failed = |reason: String| LogError::Unavailable {
            reason: format!("{broker}: {reason}"),
        };
        let mut frame = BytesMut::new();
        let header = RequestHeader::default()
            .with_request_api_key(key as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_static_str("cartwright-watchdog")));
        header
            .encode(&mut frame, Q::header_version(version))
            .and_then(|()| request.encode(&mut frame, version))
            .map_err(|error| failed(error.to_string()))?;
        let answer = self
            .exchange(broker, &frame)
            .map_err(|error| failed(error.to_string()))?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, A::header_version(version))
            .and_then(|_| A::decode(&mut answer, version))
            .map_err(|error| failed(format!("unreadable answer: {error}")))
    }

    /// By the first of its addresses that somebody listens on: a name may have one of either protocol.
    fn connect(&self, broker: &str) -> std::io::Result<TcpStream> {
        let mut failed = Error::from(ErrorKind::AddrNotAvailable);
        for address in broker.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, self.timeout) {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    }

    fn exchange(&self, broker: &str, frame: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut stream = self.connect(broker)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        let length = u32::try_from(frame.len()).map_err(Error::other)?;
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(frame)?;
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length) as usize;
        if length > LONGEST_ANSWER {
            return Err(Error::other(format!("an answer of {length} bytes")));
        }
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

/// An error that the broker answered with, if it did.
pub(super) fn ok(code: i16, what: &str, broker: &str) -> Result<(), LogError> {
    if code == 0 {
        return Ok(());
    }
    Err(LogError::Unavailable {
        reason: format!("{broker}: {what}: error {code}"),
    })
}
