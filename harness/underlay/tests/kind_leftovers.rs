//! The engine `kind` leaves nothing behind when it is interrupted, and `underlay gc` finds what it leaves when it is killed.
//! With the real docker, kind and Helm, on nodes in which there is nothing.
//!
//! `cargo test -p underlay --test kind_leftovers -- --ignored`. Where docker, kind or Helm aren't there, it says so and runs
//! nothing.

#[path = "../../kind/tests/stub/mod.rs"]
mod stub;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kind::tools::Tool;
use kind::{Tools, leftovers};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::runtime::Runtime;
use underlay::engine::kind::pool;
use underlay::exit;

const UNDERLAY: &str = env!("CARGO_BIN_EXE_underlay");
/// How long what must come may take, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(120);
const PAUSE: Duration = Duration::from_millis(50);

fn main() {
    let arguments = Arguments::from_args();
    let runtime = Runtime::new().expect("a runtime");
    let wanted = arguments.ignored || arguments.include_ignored;
    let missing = if wanted { runtime.block_on(missing()) } else { None };
    drop(runtime);
    let tests = match missing {
        Some(missing) => {
            eprintln!("skipped: {missing}");
            Vec::new()
        }
        None => vec![
            Trial::test("kind_interrupted_leaves_nothing", interrupted).with_ignored_flag(true),
            Trial::test("kind_killed_leaves_what_gc_finds", killed).with_ignored_flag(true),
        ],
    };
    libtest_mimic::run(&arguments, tests).exit();
}

async fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("only root enters containers' namespaces".to_owned());
    }
    for tool in Tool::ALL {
        if let Err(error) = Tools::of_host().run(&tool.version()).await {
            return Some(error.to_string());
        }
    }
    stub::missing()
}

/// A run whose cluster is there, and that waits for an API server that will never answer.
struct Run {
    process: Child,
    /// Its cluster.
    name: String,
    _folder: tempfile::TempDir,
}

impl Run {
    fn start() -> Result<Self, Failed> {
        let folder = tempfile::tempdir()?;
        Runtime::new()?.block_on(stub::import(&Tools::of_host(), folder.path()))?;
        let chart = folder.path().join("chart");
        fs::create_dir_all(chart.join("templates"))?;
        fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: cilium\nversion: 1.18.2\n")?;
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios/devices/node-ip-overlay.yaml");
        let process = Command::new(UNDERLAY)
            .args(["test", "--engine", "kind", "--node-image", stub::IMAGE, "--chart"])
            .arg(chart)
            .arg(format!("{}::tailscale0", scenario.display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut run = Self { process, name: String::new(), _folder: folder };
        let pid = Pid::from_raw(i32::try_from(run.process.id())?);
        run.name = wait_for("the run claims a cluster", || {
            let claims =
                pool::folder().map_err(|error| error.to_string())?.labs().map_err(|error| error.to_string())?;
            Ok(claims.into_iter().find(|claim| claim.supervisor == Some(pid)).map(|claim| claim.name.to_string()))
        })?;
        wait_for("its nodes are there", || Ok((containers(&run.name)? == 2).then_some(())))?;
        Ok(run)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = Command::new(UNDERLAY).args(["gc", &self.name]).stderr(Stdio::null()).output();
    }
}

fn interrupted() -> Result<(), Failed> {
    let mut run = Run::start()?;
    kill(Pid::from_raw(i32::try_from(run.process.id())?), Signal::SIGINT)?;
    let ended = run.process.wait()?;
    if ended.code() != Some(i32::from(exit::INTERRUPTED)) {
        return Err(format!("it ended with {ended}, expected {}", exit::INTERRUPTED).into());
    }
    gone(&run.name)
}

fn killed() -> Result<(), Failed> {
    let mut run = Run::start()?;
    let gc = |arguments: &[&str]| -> Result<String, Failed> {
        let output = Command::new(UNDERLAY).arg("gc").args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let said = gc(&[&run.name])?;
    if !said.contains("stays: process") || containers(&run.name)? != 2 {
        return Err(format!("a cluster in use stays, but gc says: {said}").into());
    }
    run.process.kill()?;
    run.process.wait()?;
    let said = gc(&["--dry-run", &run.name])?;
    if !said.contains("would be removed") || containers(&run.name)? != 2 {
        return Err(format!("a dry run says what would go, but gc says: {said}").into());
    }
    let said = gc(&["--dry-run"])?;
    if !said.contains(&format!("{} would be removed", run.name)) {
        return Err(format!("docker says whose it is, but gc says: {said}").into());
    }
    let said = gc(&[&run.name])?;
    if !said.contains("is removed") {
        return Err(format!("what nobody uses is removed, but gc says: {said}").into());
    }
    gone(&run.name)
}

fn containers(name: &str) -> Result<usize, String> {
    let found = Runtime::new().map_err(|error| error.to_string())?.block_on(leftovers::list(&Tools::of_host()));
    let found = found.map_err(|error| error.to_string())?;
    Ok(found.iter().find(|leftover| leftover.name == name).map_or(0, |leftover| leftover.containers.len()))
}

fn gone(name: &str) -> Result<(), Failed> {
    let found = Runtime::new()?.block_on(leftovers::list(&Tools::of_host()))?;
    match found.iter().find(|leftover| leftover.name == name) {
        Some(left) => Err(format!("nothing may be left, but there is {left:?}").into()),
        None => Ok(()),
    }
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>, String>) -> Result<T, Failed> {
    let began = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if began.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {} s", PATIENCE.as_secs()).into());
        }
        std::thread::sleep(PAUSE);
    }
}
