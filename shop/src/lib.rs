//! The two clients of the system: `demo` and `import retail`. Both speak HTTP alone; what `demo`
//! checks in the log, it checks as any other consumer of it would.

pub mod client;
pub mod demo;
pub mod progress;
pub mod retail;
