//! COPY's binary format, written straight from rows: a build writes millions, so each of its values is
//! looked at once and copied once.
//!
//! The format: <https://www.postgresql.org/docs/current/sql-copy.html>, "Binary Format".

use bytes::{BufMut, Bytes, BytesMut};
use cartwright_read_model::Value;
use cartwright_read_model::postgres::Micros;

use crate::merge::MergedRow;
use crate::sink::SinkError;

/// The signature, no flags, no extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
/// In place of a row's number of fields: no more rows.
const TRAILER: i16 = -1;
/// In place of a field's length: there is no value.
const NULL: i32 = -1;
/// What `jsonb` begins with.
const JSONB_VERSION: u8 = 1;
/// Sent at a time. Smaller pieces cost a wake-up of the server each.
const PIECE_BYTES: usize = 64 * 1024;
/// For a piece and the row that makes it full. Twice as much the allocator would take from the system
/// each time, page by page.
const BUFFER_BYTES: usize = PIECE_BYTES + 8 * 1024;

/// Encoded rows of one table.
#[derive(Debug)]
pub(super) struct Rows {
    out: BytesMut,
}

impl Rows {
    pub(super) fn new() -> Self {
        let mut out = BytesMut::with_capacity(BUFFER_BYTES);
        out.put_slice(HEADER);
        Self { out }
    }

    /// Adds what a row writes: its key, its cells and its seq, in the order of its table's columns.
    pub(super) fn push(&mut self, row: &MergedRow<'_>) -> Result<(), SinkError> {
        let Some(write) = &row.write else {
            return Ok(());
        };
        let out = &mut self.out;
        let fields = row.key.len() + write.cells.len() + 1;
        out.put_i16(i16::try_from(fields).map_err(SinkError::fatal)?);
        for value in row.key {
            put(out, value)?;
        }
        for cell in &write.cells {
            put(out, cell.unwrap_or(&Value::Unset))?;
        }
        put_int(out, i64::try_from(write.seq).map_err(SinkError::fatal)?);
        Ok(())
    }

    /// What there is, when it is enough to be sent.
    pub(super) fn take_piece(&mut self) -> Option<Bytes> {
        if self.out.len() < PIECE_BYTES {
            return None;
        }
        let next = BytesMut::with_capacity(BUFFER_BYTES);
        Some(std::mem::replace(&mut self.out, next).freeze())
    }

    /// What is left, and the end.
    pub(super) fn end(mut self) -> Bytes {
        self.out.put_i16(TRAILER);
        self.out.freeze()
    }
}

/// A field. That it is of its column's type the fold has seen to.
fn put(out: &mut BytesMut, value: &Value) -> Result<(), SinkError> {
    match value {
        Value::Unset => out.put_i32(NULL),
        Value::Text(text) => {
            put_length(out, text.len())?;
            out.put_slice(text.as_bytes());
        }
        Value::Int(number) => put_int(out, *number),
        Value::Bool(flag) => {
            put_length(out, 1)?;
            out.put_u8(u8::from(*flag));
        }
        Value::Time(time) => put_int(out, Micros(*time).since_2000()),
        Value::Json(json) => {
            let text = serde_json::to_vec(json).map_err(SinkError::fatal)?;
            put_length(out, text.len() + 1)?;
            out.put_u8(JSONB_VERSION);
            out.put_slice(&text);
        }
    }
    Ok(())
}

fn put_int(out: &mut BytesMut, number: i64) {
    let mut field = [0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    field[4..].copy_from_slice(&number.to_be_bytes());
    out.put_slice(&field);
}

fn put_length(out: &mut BytesMut, bytes: usize) -> Result<(), SinkError> {
    out.put_i32(i32::try_from(bytes).map_err(SinkError::fatal)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use cartwright_read_model::RowOp;
    use cartwright_read_model::tables::{CART_LINES, PRODUCTS};

    use super::*;
    use crate::merge::merge;
    use crate::sink::SeqOp;

    #[test]
    fn a_row_is_its_fields_with_their_lengths() {
        let key = ["c1".into(), Value::Int(3)];
        let op = RowOp::upsert(&CART_LINES, key, [("sku", "cup".into())]);
        let ops = [SeqOp { seq: 7, op }];
        let mut rows = Rows::new();
        rows.push(&merge(&ops).unwrap()[0]).unwrap();
        let mut expected = HEADER.to_vec();
        expected.extend(9i16.to_be_bytes());
        expected.extend(b"\0\0\0\x02c1");
        expected.extend(b"\0\0\0\x08\0\0\0\0\0\0\0\x03");
        expected.extend(b"\0\0\0\x03cup");
        for _ in 0..5 {
            expected.extend(NULL.to_be_bytes());
        }
        expected.extend(b"\0\0\0\x08\0\0\0\0\0\0\0\x07");
        expected.extend(TRAILER.to_be_bytes());
        assert_eq!(rows.end(), expected);
    }

    #[test]
    fn rows_are_sent_in_pieces() {
        let op = |seq: u64| SeqOp {
            seq,
            op: RowOp::upsert(
                &PRODUCTS,
                [format!("sku-{seq}").into()],
                [("description", "x".repeat(1_000).into())],
            ),
        };
        let ops: Vec<SeqOp> = (1..=200).map(op).collect();
        let mut rows = Rows::new();
        let mut pieces = Vec::new();
        for row in &merge(&ops).unwrap() {
            rows.push(row).unwrap();
            pieces.extend(rows.take_piece());
        }
        assert_eq!(pieces.len(), 3);
        assert!(pieces.iter().all(|piece| piece.len() < PIECE_BYTES + 2_000));
    }
}
