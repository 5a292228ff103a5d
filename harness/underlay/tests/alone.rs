//! A run sends nothing into the namespace it was started in, nor by way of a socket that some library opened behind our
//! back. With `lo` down there too: a lab needs nothing of its host's network.

mod outside;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use lab::{Missing, Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use outside::{open_up, packets, proof};
use tokio::runtime::Runtime;
use underlay::case::Case;
use underlay::engine::netns::Netns;
use underlay::runner;
use underlay::scenario::{self, Overrides};
use underlay::verdict::Verdict;

const SCENARIO: &str = "scenarios/guide/table.yaml";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let missing = lacking(sandbox, &runtime);
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let trial = |name: &str, test: fn(&Runtime) -> Result<(), Failed>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || test(&runtime)).with_ignored_flag(missing.is_some())
    };
    let trials = vec![
        trial("the_program_sends_nothing", program),
        trial("its_libraries_send_nothing", |runtime| runtime.block_on(libraries())),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn cases() -> Vec<Case> {
    scenario::load(&root().join(SCENARIO), &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"))
}

fn lacking<T>(sandbox: Result<T, Missing>, runtime: &Runtime) -> Option<Missing> {
    sandbox.and_then(|_| runtime.block_on(lab::doctor::try_for(&cases()[0].network))).err()
}

fn program(_: &Runtime) -> Result<(), Failed> {
    let (host, beyond) = (Namespace::create("host", &Sysctls::HOST)?, Namespace::create("beyond", &Sysctls::HOST)?);
    let seen = open_up(&host, &beyond)?;
    host.netlink()?.link_down("lo")?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_underlay"));
    command.args(["test", SCENARIO]).current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A child belongs to the namespace of the thread that starts it.
    let child = host.enter(|| command.spawn())??;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        return Err(format!("every case passes where `lo` is down: {}\n{said}", output.status).into());
    }
    let sent = packets(&seen);
    match sent.is_empty() {
        true => proof(&host, &seen),
        false => Err(format!("it sent packets into the namespace it was started in: {sent:02x?}").into()),
    }
}

/// Sockets opened where nobody chose a namespace would be in this process's own.
async fn libraries() -> Result<(), Failed> {
    let own = Namespace::open("own", Path::new("/proc/self/ns/net"))?;
    // IPv6 talks of itself; a kernel without it has nothing to switch off.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    let beyond = Namespace::create("beyond", &Sysctls::HOST)?;
    let seen = open_up(&own, &beyond)?;
    for case in cases() {
        let result = runner::one(&Netns, Arc::new(case)).await;
        if result.verdict != Verdict::Pass {
            return Err(format!("{} passes where `lo` is down: {:?}", result.case.id(), result.verdict).into());
        }
        let sent = packets(&seen);
        if !sent.is_empty() {
            return Err(format!("{} sent packets by stray sockets: {sent:02x?}", result.case.id()).into());
        }
    }
    proof(&own, &seen)
}
