//! Engines: who puts a cluster on the network.
//!
//! What they have in common is here: [`up`] is a case while it is up, [`run`] takes it from nothing to nothing,
//! [`cluster`] is pods and what runs in them, [`story`] and [`steps`] what happens to it, [`send`] probes it, and [`trace`]
//! says what became of the packets. Each engine, a folder, is a [`fleet::Fleet`]: the agents, and what they make of
//! packets. [`real`] is how real agents are asked, wherever they run.

pub mod agent;
mod cluster;
mod fleet;
pub mod inputs;
pub mod install;
pub mod kind;
mod lag;
pub mod live;
pub mod netns;
mod pod;
pub mod real;
mod renumber;
mod run;
mod send;
mod services;
mod steps;
pub mod story;
mod trace;
mod up;
mod wanted;
mod workload;
