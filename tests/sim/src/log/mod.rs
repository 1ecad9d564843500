//! The log as processes see it: the model of Kafka, with processes that are killed at any call, a
//! leader that is behind, and, where a bug is planted, a client that lies.

mod reader;
mod writer;

use cartwright_event_log::memory::MemoryLog;
use cartwright_event_log::{
    EventLog, LogError, OpenTransaction, ReaderPurpose, Record, TopicPartition,
};

pub(crate) use reader::{SimGroupReader, SimReader};
pub(crate) use writer::{SimWriter, attempt_of};

use crate::sim::Sim;
use crate::store::BUILDER_DIES;

/// Of so many offsets, one is misread.
const MISREAD: u64 = 9;

/// A header's value.
pub(crate) fn text<'a>(record: &'a Record, name: &str) -> Option<&'a str> {
    std::str::from_utf8(record.header(name)?).ok()
}

/// See the module.
#[derive(Clone)]
pub(crate) struct SimLog {
    pub(crate) model: MemoryLog,
    pub(crate) sim: Sim,
    /// Whether its readers make nothing of some records, as code would that can't read their schema.
    pub(crate) misreads: bool,
    /// Whether it belongs to whoever builds a version.
    pub(crate) builds: bool,
}

impl SimLog {
    /// A call that this process may not survive; a builder is called `builder` then.
    fn may_die(&self, kind: &'static str, builder: &'static str) {
        match self.builds {
            true => self.sim.may_die_often(builder, BUILDER_DIES),
            false => self.sim.may_die(kind),
        }
    }

    fn may_die_asking(&self) {
        self.may_die(
            "killed while it asks about a partition",
            "builder killed while it asks about a partition",
        );
    }

    /// The records as this process reads them.
    fn misread(&self, records: &mut [Record]) {
        for record in records.iter_mut().filter(|_| self.misreads) {
            if record.offset % MISREAD == MISREAD / 2 {
                record.value = Some(b"unreadable".to_vec());
            }
        }
    }
}

impl EventLog for SimLog {
    type Writer = SimWriter;
    type Reader = SimReader;
    type GroupReader = SimGroupReader;

    fn writer(&self, transactional_id: &str) -> Result<SimWriter, LogError> {
        self.sim.may_die("killed while it connects a writer");
        SimWriter::new(self, transactional_id)
    }

    fn reader(&self, purpose: ReaderPurpose) -> Result<SimReader, LogError> {
        let inner = self.model.reader(purpose)?;
        Ok(SimReader::new(self, inner, purpose))
    }

    fn group_reader(&self, group: &str, topics: &[&str]) -> Result<SimGroupReader, LogError> {
        self.sim
            .may_die("projector killed before it joins its group");
        let inner = self.model.group_reader(group, topics)?;
        Ok(SimGroupReader::new(self, inner))
    }

    fn partition_count(&self, topic: &str) -> Result<u32, LogError> {
        self.may_die_asking();
        self.model.partition_count(topic)
    }

    fn open_transactions(&self, at: &TopicPartition) -> Result<Vec<OpenTransaction>, LogError> {
        self.may_die_asking();
        self.model.open_transactions(at)
    }
}
