//! Confluent's wire format: a zero byte, the schema's id (4 bytes, big-endian), the Avro body.

/// The first byte of every framed record.
pub const MAGIC: u8 = 0;
/// Bytes before the Avro body.
pub const HEADER_BYTES: usize = 5;

/// Bytes do not start as a framed record does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Shorter than the header.
    #[error("{0} bytes are too few for a schema id")]
    TooShort(usize),
    /// The first byte is not zero: not this wire format.
    #[error("the first byte is {0:#04x}, not 0x00")]
    BadMagic(u8),
}

/// Starts a framed record written with schema `id`, with room for a body of `capacity` bytes.
#[must_use]
pub fn start(id: u32, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + capacity);
    out.push(MAGIC);
    out.extend_from_slice(&id.to_be_bytes());
    out
}

/// Splits a framed record into its schema's id and its Avro body.
///
/// # Errors
/// [`FramingError`] when the header is not one.
pub fn split(record: &[u8]) -> Result<(u32, &[u8]), FramingError> {
    let Some((header, body)) = record.split_first_chunk::<HEADER_BYTES>() else {
        return Err(FramingError::TooShort(record.len()));
    };
    match *header {
        [MAGIC, a, b, c, d] => Ok((u32::from_be_bytes([a, b, c, d]), body)),
        [magic, ..] => Err(FramingError::BadMagic(magic)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_big_endian_after_a_zero_byte() {
        let mut record = start(0x0102_0304, 1);
        record.push(9);
        assert_eq!(record, [0, 1, 2, 3, 4, 9]);
        assert_eq!(split(&record), Ok((0x0102_0304, &[9u8][..])));
    }

    #[test]
    fn what_is_not_framed_is_named() {
        assert_eq!(split(&[0, 0, 0, 1]), Err(FramingError::TooShort(4)));
        assert_eq!(split(b"{\"a\":1}"), Err(FramingError::BadMagic(b'{')));
    }
}
