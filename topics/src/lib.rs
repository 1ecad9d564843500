//! The topics of Cartwright and the schemas of their records: declared in `topics.yaml` and
//! `schemas/avro`, compared with a cluster and a registry, made so, checked, and documented.

pub mod apply;
pub mod cluster;
pub mod plan;
pub mod subjects;
pub mod topology;
