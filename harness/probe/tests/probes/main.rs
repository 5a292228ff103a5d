//! Probes of every kind, with every outcome they can have, from packets that met it.

mod names;
mod packets;
mod world;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use world::World;

fn main() {
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let trials = packets::tests()
        .into_iter()
        .chain(names::tests())
        .map(|(name, test)| {
            let runtime = Arc::clone(&runtime);
            Trial::test(name, move || runtime.block_on(async { test(World::new().await?).await }))
                .with_ignored_flag(sandbox.is_err())
        })
        .collect();
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
