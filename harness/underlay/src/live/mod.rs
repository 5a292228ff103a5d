//! Labs one can live in: a case kept up by a supervisor, for other processes to enter.
//!
//! [`supervisor`] keeps it, in a process of its own; [`folder`] is where a user's labs are found; [`protocol`] is what
//! is said over a lab's socket and [`wire`] how; [`client`] asks, and [`enter`] goes in. [`whereabouts`] is what pids and
//! claims are of.

pub mod client;
pub mod describe;
pub mod enter;
pub mod folder;
pub mod name;
pub mod protocol;
pub mod refusal;
pub mod resolver;
pub mod supervisor;
pub mod whereabouts;
pub mod wire;

pub use name::Name;
pub use refusal::Refusal;
