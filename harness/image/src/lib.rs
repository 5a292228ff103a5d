//! Where a real component comes from: a container image, pulled from a registry or read from a file, verified, unpacked
//! and kept.
//!
//! [`obtain`] turns what a user named ([`Wanted`]) into a directory tree ([`Root`]). A tree is unpacked once for each
//! digest and stays in the [`Cache`], which any number of processes may use at a time. What an image holds is not trusted:
//! every blob is held against its digest, and unpacking is bounded in size, in place and in kind (see [`unpack`]).
//!
//! Knows nothing of labs. Call it before the process enters a namespace that leads nowhere: it talks to registries by
//! the sockets of whoever calls.

mod cache;
mod digest;
mod error;
mod limits;
mod manifest;
mod obtain;
mod source;
pub mod unpack;
mod wanted;

pub use cache::{Cache, Entry, Pruned};
pub use digest::Digest;
pub use error::Error;
pub use limits::Limits;
pub use obtain::{Event, Root, obtain};
pub use wanted::{Origin, Wanted};
