//! One pass over a retail file.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use super::book::{Book, BookBuilder};
use super::rejects::{Later, Rejects};
use super::rule::{Row, Rule};
use super::text::{BytesRead, PlainLineEnds, Source, decode};

/// The columns that a retail file has to have, in any order.
pub const COLUMNS: [&str; 8] = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
];

/// A file cannot be read as a retail file.
#[derive(Debug, Error)]
pub enum ReadError {
    /// It cannot be opened or read.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It is no CSV (or its compressed form is broken).
    #[error("is not readable as CSV: {0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("has no column {0}; a retail file has {list}", list = COLUMNS.join(","))]
    NoColumn(&'static str),
    /// The report of rejects cannot be written.
    #[error("the report of rejects cannot be written: {0}")]
    Rejects(#[source] io::Error),
}

/// What a pass over the file found.
#[derive(Debug)]
pub struct Reading {
    /// Its invoices.
    pub book: Book,
    /// Rejected rows by rule.
    pub rejected: BTreeMap<Rule, u64>,
    /// Rows below the header.
    pub rows: u64,
    /// SHA-256 of the unpacked file, in hexadecimal.
    pub digest_hex: String,
}

/// Reads the file into a book and writes rejected rows to `rejects` as they come.
///
/// # Errors
/// [`ReadError`]; a row that cannot be used is no error but a reject.
pub fn read(
    path: &Path,
    progress: &Arc<BytesRead>,
    rejects: impl FnOnce(&[String]) -> io::Result<Rejects>,
) -> Result<(Reading, Rejects), ReadError> {
    let mut file = Rows::open(path, progress)?;
    let mut rejects = rejects(&file.header).map_err(ReadError::Rejects)?;
    let mut builder = BookBuilder::default();
    let mut rejected: BTreeMap<Rule, u64> = BTreeMap::new();
    let mut rows = 0;
    while let Some(line) = file.advance()? {
        rows += 1;
        let row = file.row();
        let invoice = row
            .kind()
            .map(|kind| builder.names_invoice(&row, kind, line));
        match (row.judge(), invoice) {
            (Ok((_, accepted)), Some(invoice)) => builder.accept(invoice, &row, accepted, line),
            (Err(rule), _) => {
                *rejected.entry(rule).or_default() += 1;
                rejects
                    .add(line, rule, "", file.fields())
                    .map_err(ReadError::Rejects)?;
            }
            (Ok(_), None) => unreachable!("an accepted row has a kind"),
        }
    }
    let reading = Reading {
        book: builder.finish(),
        rejected,
        rows,
        digest_hex: file.csv.get_ref().source().digest_hex(),
    };
    Ok((reading, rejects))
}

/// Goes over the file again and writes the rows of `later` to `rejects`.
///
/// # Errors
/// As [`read`].
pub fn add_later(path: &Path, later: &Later, rejects: &mut Rejects) -> Result<(), ReadError> {
    if later.is_empty() {
        return Ok(());
    }
    let mut file = Rows::open(path, &Arc::default())?;
    let mut missing = later.len();
    while missing > 0
        && let Some(line) = file.advance()?
    {
        let Some((rule, detail)) = later.get(&line) else {
            continue;
        };
        missing -= 1;
        rejects
            .add(line, *rule, detail, file.fields())
            .map_err(ReadError::Rejects)?;
    }
    Ok(())
}

/// The rows of a file, one at a time in one buffer.
struct Rows {
    csv: csv::Reader<PlainLineEnds>,
    header: Vec<String>,
    columns: [usize; COLUMNS.len()],
    record: csv::ByteRecord,
}

impl Rows {
    fn open(path: &Path, progress: &Arc<BytesRead>) -> Result<Self, ReadError> {
        let source = PlainLineEnds::new(Source::open(path, Arc::clone(progress))?);
        let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(source);
        let header: Vec<String> = csv
            .byte_headers()?
            .iter()
            .map(|name| {
                decode(name)
                    .trim_start_matches('\u{feff}')
                    .trim()
                    .to_owned()
            })
            .collect();
        let mut columns = [0; COLUMNS.len()];
        for (place, name) in columns.iter_mut().zip(COLUMNS) {
            let found = header.iter().position(|column| column == name);
            *place = found.ok_or(ReadError::NoColumn(name))?;
        }
        Ok(Self {
            csv,
            header,
            columns,
            record: csv::ByteRecord::new(),
        })
    }

    /// Goes to the next row and says on which line of the file it starts (the header is line 1).
    fn advance(&mut self) -> Result<Option<u32>, ReadError> {
        if !self.csv.read_byte_record(&mut self.record)? {
            return Ok(None);
        }
        let line = self.record.position().map_or(0, csv::Position::line);
        Ok(Some(u32::try_from(line).unwrap_or(u32::MAX)))
    }

    fn fields(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.record.iter().map(decode)
    }

    fn row(&self) -> Row<'_> {
        let field = |at: usize| -> Cow<'_, str> {
            match decode(self.record.get(self.columns[at]).unwrap_or_default()) {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            }
        };
        Row {
            invoice: field(0),
            stock_code: field(1),
            description: field(2),
            quantity: field(3),
            invoice_date: field(4),
            unit_price: field(5),
            customer: field(6),
            country: field(7),
        }
    }
}
