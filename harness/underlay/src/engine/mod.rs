//! Engines: who puts a cluster on the network. A folder each.

pub mod netns;
