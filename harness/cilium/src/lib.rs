//! What Cilium decides from its inputs, by version, and what the guide says it decides. Pure: knows no kernel.
//!
//! Inputs: Helm values as the user wrote them, a [`Version`](version), and what the agent sees of its node and of the
//! cluster ([`inputs`]). Output: [`Decisions`], or the fatal error the agent would die of.

pub mod decisions;
pub mod inputs;

pub use decisions::Decisions;
