//! Packets sent on purpose, packets seen: probes, capture, and what became of a packet.

pub mod capture;
pub mod correlate;
pub mod deathwatch;
pub mod mark;
pub mod witness;
