//! The topics of Cartwright and the schemas of their records: declared in `topics.yaml` and
//! `schemas/avro`, compared with a cluster and a registry, made so, checked, and documented.

pub mod apply;
pub mod asyncapi;
pub mod check;
pub mod cluster;
pub mod compatibility;
pub mod plan;
pub mod rules;
pub mod subjects;
pub mod topology;
pub mod versions;
