//! What a network looks like: the topology file, its schema, its validation. Pure: knows no kernel.
//!
//! [`mod@file`] holds what a person writes, [`network`] what the rest of the program reads, [`source`] text with positions
//! and the errors that point into it. Going from the one to the other is validation; outside of tests and benchmarks
//! ([`generate`]) it is the only way to get a [`Network`].

#![forbid(unsafe_code)]

use std::path::Path;

mod diagnostic;
pub mod file;
pub mod generate;
pub mod network;
pub mod preset;
mod schema;
pub mod source;
mod spanned;
mod suggest;
pub mod validate;
pub mod values;

pub use network::Network;
pub use schema::{schema, schema_of};
use source::{Diagnostics, Source};
pub use validate::validate;

/// Reads a topology file: text, YAML, validation.
///
/// # Errors
/// All that is wrong with it; if it isn't YAML or not of a topology's shape, the first thing.
pub fn load(path: &Path) -> Result<Network, Diagnostics> {
    parse(&Source::read(path)?)
}

/// [`load`], from text that was read already. The file's name without its ending is the network's, if the text gives
/// none.
///
/// # Errors
/// As [`load`].
pub fn parse(source: &Source) -> Result<Network, Diagnostics> {
    let stem = Path::new(source.file()).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    validate(&source.parse()?, source, stem.as_deref().unwrap_or("topology"))
}
