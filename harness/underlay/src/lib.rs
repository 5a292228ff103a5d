//! Scenarios, engines, verdicts, reports, and the command line.

pub mod bisect;
pub mod case;
pub mod command;
pub mod compare;
pub mod component;
pub mod engine;
pub mod exit;
pub mod explore;
pub mod live;
pub mod nat;
pub mod observed;
pub mod reference;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod shard;
pub mod shrink;
pub mod step;
pub mod timeline;
pub mod truth;
pub mod verdict;
pub mod words;
