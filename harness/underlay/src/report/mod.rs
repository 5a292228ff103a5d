//! Readers of a run's events, one a file. None knows another, and what they share is [`schema`].

pub mod collect;
pub mod folder;
pub mod github;
pub mod html;
pub mod human;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod merge;
pub(crate) mod page;
pub mod paint;
pub mod pcapng;
pub mod picture;
pub mod progress;
pub mod render;
pub mod schema;
pub mod table;
pub mod timeline;
pub mod trace;
pub mod walk;

pub use walk::walk_text;
