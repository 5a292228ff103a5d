//! Ended at any moment, by SIGINT, SIGTERM or SIGKILL, a run leaves nothing: no process, namespace, link or file.
//!
//! `UNDERLAY_KILLS` says how many runs are ended (50); `UNDERLAY_SEED` repeats a run's signals and moments.

mod apart;
mod seeded;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use seeded::Random;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::time::sleep;
use underlay::exit;

const KILLS: usize = 50;
/// Runs at a time.
const AT_ONCE: usize = 4;
const SCENARIO: &str = "scenarios/guide/table.yaml";
/// Within this time a run has ended, by itself or after a signal, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    // The limits of a user namespace of our own count our runs' network namespaces and nobody else's. Before the first
    // thread.
    let apart = apart::apart();
    let barred = apart.err().map(|error| format!("no user namespace: {error}")).or_else(apart::lacking);
    if let (Some(reason), false) = (&barred, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    let test = || Runtime::new()?.block_on(killed());
    let trials =
        vec![Trial::test("ended_at_any_moment_a_run_leaves_nothing", test).with_ignored_flag(barred.is_some())];
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// One run, in a process group, a working directory and a folder for temporary files of its own.
struct Run {
    child: Child,
    folders: [TempDir; 2],
}

impl Run {
    fn start() -> io::Result<Self> {
        let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(SCENARIO).canonicalize()?;
        let folders = [TempDir::new()?, TempDir::new()?];
        let child = Command::new(env!("CARGO_BIN_EXE_underlay"))
            .arg("test")
            .arg(scenario)
            .current_dir(folders[0].path())
            .env("TMPDIR", folders[1].path())
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, folders })
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    async fn end(&mut self) -> Result<ExitStatus, Failed> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > PATIENCE {
                let threads = self.threads();
                self.child.kill()?;
                return Err(
                    format!("it has to end by itself within {PATIENCE:?}; its threads wait in {threads:?}").into()
                );
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Each thread's name and where in the kernel it waits.
    fn threads(&self) -> Vec<(String, String)> {
        let read = |task: &Path, what: &str| fs::read_to_string(task.join(what)).unwrap_or_default().trim().to_owned();
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).into_iter().flatten().filter_map(Result::ok);
        tasks.map(|task| (read(&task.path(), "comm"), read(&task.path(), "wchan"))).collect()
    }

    /// What is left of it, now that it has ended.
    async fn left(&self) -> Result<(), Failed> {
        // A process that is to outlive the run may have been forked and not have left the group yet.
        let began = Instant::now();
        loop {
            match kill(Pid::from_raw(-self.pid().as_raw()), None) {
                Err(Errno::ESRCH) => break,
                Ok(()) if began.elapsed() < PATIENCE => sleep(Duration::from_millis(1)).await,
                other => return Err(format!("a process of its group is left: {other:?}").into()),
            }
        }
        for folder in &self.folders {
            let files: Vec<PathBuf> =
                fs::read_dir(folder.path())?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            if !files.is_empty() {
                return Err(format!("files are left: {files:?}").into());
            }
        }
        Ok(())
    }
}

/// What a machine shows of labs that weren't cleaned up.
#[derive(Debug, PartialEq, Eq)]
struct Host {
    named_namespaces: BTreeSet<PathBuf>,
    links: BTreeSet<String>,
}

impl Host {
    fn look() -> Result<Self, Failed> {
        // Where there is no such folder, nobody ever named a namespace.
        let named = fs::read_dir("/run/netns").into_iter().flatten();
        let links = nix::net::if_::if_nameindex()?;
        Ok(Self {
            named_namespaces: named.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
            links: links.iter().map(|link| link.name().to_string_lossy().into_owned()).collect(),
        })
    }
}

async fn killed() -> Result<(), Failed> {
    let before = Host::look()?;
    let full = full().await?;
    let kills = std::env::var("UNDERLAY_KILLS").map_or(Ok(KILLS), |text| text.parse())?;
    let seed = seeded::seeds(1)[0];
    let mut random = Random::new(seed);
    let mut moments: Vec<_> = (0..kills)
        .map(|index| {
            let signal = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL][index % 3];
            // A run among others takes longer than one alone, so all of these are within it.
            (signal, Duration::from_micros(random.below(full.as_micros() as u64)))
        })
        .collect();
    random.shuffle(&mut moments);

    let mut lanes = Vec::new();
    for lane in 0..AT_ONCE {
        let moments: Vec<_> = moments.iter().skip(lane).step_by(AT_ONCE).copied().collect();
        lanes.push(async move {
            let mut cut_short = 0;
            for (signal, after) in moments {
                let ended = end(signal, after).await;
                let context = |error: Failed| format!("{signal} after {after:?} (UNDERLAY_SEED={seed}): {error:?}");
                cut_short += usize::from(ended.map_err(context)?);
            }
            Ok::<_, Failed>(cut_short)
        });
    }
    let cut_short: usize = futures::future::try_join_all(lanes).await?.into_iter().sum();
    if cut_short * 2 < kills {
        return Err(format!("only {cut_short} of {kills} runs were cut short: nothing was tried").into());
    }

    // Who takes their labs down is the last to go.
    apart::no_strays(apart::CLEANUP).await?;
    let after = Host::look()?;
    if after != before {
        return Err(format!("before: {before:?}\nafter: {after:?}").into());
    }
    apart::none_left().await
}

/// How long a whole run takes.
async fn full() -> Result<Duration, Failed> {
    let (began, mut run) = (Instant::now(), Run::start()?);
    let status = run.end().await?;
    let took = began.elapsed();
    match status.code() {
        Some(0) => run.left().await.map(|()| took),
        _ => Err(format!("a run that nobody ends should pass: {status}").into()),
    }
}

/// Starts a run and ends it. Whether it was cut short.
async fn end(signal: Signal, after: Duration) -> Result<bool, Failed> {
    let mut run = Run::start()?;
    // The moment is what is tried here.
    sleep(after).await;
    kill(run.pid(), signal)?;
    let status = run.end().await?;
    run.left().await?;
    let promised = match signal {
        Signal::SIGINT => Some(exit::INTERRUPTED),
        Signal::SIGTERM => Some(exit::TERMINATED),
        _ => None,
    };
    // A signal that comes before the program catches it ends it the plain way, which shells show as the same code; one
    // that comes after the last case changes nothing.
    match (status.code(), status.signal()) {
        (Some(code), _) if promised.map(i32::from) == Some(code) => Ok(true),
        (None, Some(by)) if by == signal as i32 => Ok(true),
        (Some(code), _) if code == i32::from(exit::OK) => Ok(false),
        _ => {
            Err(format!("it should end with {promised:?}, by {signal}, or with 0 if it was done, not: {status}").into())
        }
    }
}
