//! The report of rejects: a CSV file with the line number, the rule, a word of detail and the row
//! as it was.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::Path;

use super::rule::Rule;

/// Writes the report. It grows on disk, not in memory.
pub struct Rejects {
    file: csv::Writer<BufWriter<File>>,
    written: u64,
}

impl Rejects {
    /// Starts the report anew: columns `line`, `rule`, `detail`, then those of the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn create(path: &Path, columns: &[String]) -> io::Result<Self> {
        let file = BufWriter::new(File::create(path)?);
        let mut file = csv::WriterBuilder::new().flexible(true).from_writer(file);
        let own = ["line", "rule", "detail"];
        let columns = columns.iter().map(String::as_str);
        file.write_record(own.into_iter().chain(columns))?;
        Ok(Self { file, written: 0 })
    }

    /// Adds a row of the file.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn add<'a>(
        &mut self,
        line: u32,
        rule: Rule,
        detail: &str,
        row: impl Iterator<Item = Cow<'a, str>>,
    ) -> io::Result<()> {
        self.written += 1;
        self.file.write_field(line.to_string())?;
        self.file.write_field(rule.name())?;
        self.file.write_field(detail)?;
        for field in row {
            self.file.write_field(field.as_ref())?;
        }
        self.file.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// Entries so far.
    #[must_use]
    pub const fn written(&self) -> u64 {
        self.written
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Entries that are known only after the whole file was read, by line of the file.
pub type Later = BTreeMap<u32, (Rule, String)>;
