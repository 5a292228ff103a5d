//! Kubernetes clusters whose nodes are containers: made by kind, told and asked by docker, Helm and kubectl.
//!
//! Knows nothing of scenarios. [`tools`] is how programs are run, by arguments alone, and [`transcript`] who stands in for
//! them in tests; [`cluster`] makes clusters and finds them, [`node`] is one node, [`kubelet`] and [`api_server`] change
//! what those were told; [`kubernetes`] is the API, [`chart`] what Helm is asked for, and [`leftovers`] finds what a killed
//! run left behind.

pub mod api_server;
pub mod chart;
pub mod cluster;
pub mod config;
pub mod error;
pub mod images;
pub mod kubelet;
pub mod kubernetes;
pub mod leftovers;
pub mod node;
pub mod tools;
pub mod transcript;
pub mod wait;

pub use cluster::Cluster;
pub use error::{Error, Result};
pub use node::Node;
pub use tools::Tools;
