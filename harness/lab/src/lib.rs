//! A topology in the kernel: namespaces, links, routes, firewall, overlay, internet services.
//!
//! Knows nothing of Kubernetes or Cilium.

mod behind;
pub mod cgroup;
pub mod conntrack;
pub mod doctor;
pub mod drops;
pub mod error;
pub mod host;
pub mod init;
pub mod internet;
pub mod keeper;
pub mod lab;
pub mod limits;
pub mod machine;
pub mod namespace;
pub mod netlink;
pub mod nft;
pub mod node;
pub mod overlay;
pub mod passing;
pub mod sandbox;
pub mod serve;
pub mod socket;
pub mod surroundings;
pub mod sys;
pub mod sysctl;
pub mod teardown;
pub mod vcn;

pub use error::{Error, Result};
pub use host::{Capability, Missing};
pub use lab::Lab;
pub use machine::Machine;
pub use namespace::Namespace;
pub use surroundings::Surroundings;
pub use sysctl::Sysctls;
