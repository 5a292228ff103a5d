//! What a network looks like: the topology file, its schema, its validation. Pure: knows no kernel.
//!
//! [`file`] holds what a person writes, [`network`] what the rest of the program reads, [`source`] text with positions
//! and the errors that point into it. Going from the one to the other is validation, and the only way to get a
//! [`Network`].

pub mod network;

pub use network::Network;
