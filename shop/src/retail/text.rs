//! Bytes of a retail file: unpacked, digested, and made text without loss.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const BUFFER_BYTES: usize = 256 * 1024;

/// How far a file has been read, for a progress display.
#[derive(Debug, Default)]
pub struct BytesRead {
    /// Bytes of the file as it lies on disk.
    pub done: AtomicU64,
    /// Its size.
    pub total: AtomicU64,
}

struct Counted {
    file: File,
    read: Arc<BytesRead>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read(buffer)?;
        self.read.done.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// A retail file opened for one pass, plain or gzip (told by its first bytes, not by its name).
pub struct Source {
    inner: Box<dyn Read + Send>,
    digest: Sha256,
}

impl Source {
    /// Opens `path` at its start.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn open(path: &Path, read: Arc<BytesRead>) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let total = file.metadata()?.len();
        let mut magic = Vec::new();
        (&mut file).take(2).read_to_end(&mut magic)?;
        file.rewind()?;
        read.done.store(0, Ordering::Relaxed);
        read.total.store(total, Ordering::Relaxed);
        let counted = BufReader::with_capacity(BUFFER_BYTES, Counted { file, read });
        let inner: Box<dyn Read + Send> = if magic == GZIP_MAGIC {
            Box::new(MultiGzDecoder::new(counted))
        } else {
            Box::new(counted)
        };
        Ok(Self {
            inner,
            digest: Sha256::new(),
        })
    }

    /// SHA-256 of what has been read, unpacked, in hexadecimal: the same for a file and for its
    /// compressed form.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        let digest = self.digest.clone().finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.inner.read(buffer)?;
        self.digest.update(&buffer[..bytes]);
        Ok(bytes)
    }
}

/// A source whose lines end in `\n` alone. The CSV reader ends a row at a `\r` and counts the line
/// only at the `\n`, with the row after, so that every row would seem to be one line further up.
pub struct PlainLineEnds {
    source: BufReader<Source>,
}

impl PlainLineEnds {
    /// Over `source`.
    #[must_use]
    pub fn new(source: Source) -> Self {
        let source = BufReader::with_capacity(BUFFER_BYTES, source);
        Self { source }
    }

    /// Where the bytes come from, line ends and all.
    #[must_use]
    pub fn source(&self) -> &Source {
        self.source.get_ref()
    }
}

impl Read for PlainLineEnds {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let ahead = self.source.fill_buf()?;
            let ahead = &ahead[..ahead.len().min(buffer.len())];
            let is_return = |byte: &u8| *byte == b'\r';
            let plain = ahead.iter().position(is_return).unwrap_or(ahead.len());
            if plain > 0 || ahead.is_empty() {
                buffer[..plain].copy_from_slice(&ahead[..plain]);
                self.source.consume(plain);
                return Ok(plain);
            }
            self.source.consume(1);
            if self.source.fill_buf()?.first() != Some(&b'\n') {
                buffer[0] = b'\r';
                return Ok(1);
            }
        }
    }
}

/// Text of `bytes`: UTF-8, or windows-1252 where they are no UTF-8. Nothing is ever replaced:
/// windows-1252 gives every byte a character.
#[must_use]
pub fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            encoding_rs::WINDOWS_1252
                .decode_without_bom_handling(bytes)
                .0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_is_no_utf8_is_read_as_windows_1252() {
        assert_eq!(decode("Gutschein 20 £".as_bytes()), "Gutschein 20 £");
        assert_eq!(decode(b"Gutschein 20 \xa3"), "Gutschein 20 £");
        assert_eq!(decode(b"\x80 caf\xe9"), "€ café");
        let every_byte: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&every_byte).chars().count(), 256);
        assert!(!decode(&every_byte).contains('\u{fffd}'));
    }
}
