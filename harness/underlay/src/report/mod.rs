//! Readers of a run's events, one a file. None knows another, and what they share is [`schema`].

pub mod collect;
pub mod human;
pub mod json;
pub mod paint;
pub mod progress;
pub mod schema;
