//! Engines: who puts a cluster on the network. A folder each.

pub mod live;
pub mod netns;
