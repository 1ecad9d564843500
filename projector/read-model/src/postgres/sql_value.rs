//! Times to the microsecond, without a date library between the store and us.

use std::error::Error;

use bytes::{BufMut, BytesMut};
use cartwright_events::Timestamp;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, accepts, to_sql_checked};

/// PostgreSQL counts from 2000-01-01T00:00:00Z.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// A [`Timestamp`] as `timestamp with time zone`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Micros(pub Timestamp);

impl Micros {
    /// As PostgreSQL counts.
    #[must_use]
    pub const fn since_2000(self) -> i64 {
        self.0.as_micros() - POSTGRES_EPOCH_MICROS
    }
}

impl ToSql for Micros {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.put_i64(self.since_2000());
        Ok(IsNull::No)
    }

    accepts!(TIMESTAMPTZ);
    to_sql_checked!();
}

impl<'a> FromSql<'a> for Micros {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        // `infinity` is never written; as a number it would not fit.
        let since_1970 = micros.saturating_add(POSTGRES_EPOCH_MICROS);
        Ok(Self(Timestamp::from_micros(since_1970)))
    }

    accepts!(TIMESTAMPTZ);
}
