//! Packets sent on purpose, packets seen: probes, capture, and what became of a packet.

mod attempt;
mod dns;
mod error_queue;
mod http;
mod icmp;
mod letter_case;
mod tcp;
mod token;
mod udp;

pub mod capture;
pub mod correlate;
pub mod deathwatch;
pub mod evidence;
pub mod mark;
pub mod run;
pub mod spec;
pub mod walk;
pub mod witness;

pub use evidence::{Evidence, Outcome};
pub use run::run;
pub use spec::Probe;
