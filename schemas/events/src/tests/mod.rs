//! Laws of the codec, held against a general-purpose Avro library and against kept records.

mod avro;
mod examples;
pub(crate) mod generated;
mod laws;
mod registry;
mod resolution;
mod upcast;
