//! The command line: what can be asked for, a verb a file.

mod apply;
mod bench;
mod bisect;
mod cache;
mod capture;
mod check;
mod compare;
mod completions;
mod doctor;
mod down;
mod engine;
mod explore;
mod gc;
mod graph;
mod import;
mod inside;
mod man;
mod place;
mod plan;
mod ps;
mod report;
mod schema;
mod select;
mod shrink;
mod test;
mod trace;
mod truth;
mod up;

use std::io::{self, Write};

use clap::{Parser, Subcommand};
use topology::source::Diagnostics;

use crate::exit;
use crate::live::Refusal;
use crate::live::refusal::Fault;
use crate::report::paint::{Color, Paint};

const EXAMPLES: &str = "\
Examples:
  underlay test                              every scenario in ./scenarios
  underlay test scenarios/guide/table.yaml   one file
  underlay plan scenarios/guide/table.yaml::enp0s6
                                             what Cilium decides there
  underlay trace scenarios/guide/table.yaml::tailscale0 master/pod 8.8.8.8
                                             where the packet goes, and where it dies
  underlay up scenarios/guide/table.yaml::enp0s6
                                             keep it up, to look around in it
  underlay doctor                            whether this host can build labs

Exit codes:
  0  all that was asserted holds
  1  something asserted doesn't hold, or the evidence was inconclusive
  2  wrong use, or a file is wrong; nothing was built
  3  this host can't: nothing asserted ran
  4  the harness itself erred
  130, 143  interrupted by SIGINT (Ctrl-C), SIGTERM
  141  nobody read the output to its end";

/// Builds networks out of namespaces, puts a Cilium cluster on them, and says which packets arrive.
#[derive(Debug, Parser)]
#[command(name = "underlay", version, after_help = EXAMPLES, max_term_width = 100)]
pub struct Cli {
    /// When to use colours; `auto`: on a terminal, unless NO_COLOR is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    color: Color,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Test(test::Args),
    Plan(plan::Args),
    Compare(compare::Args),
    Bisect(bisect::Args),
    Shrink(shrink::Args),
    Explore(explore::Args),
    Trace(trace::Args),
    Up(up::Args),
    Ps(ps::Args),
    Shell(inside::ShellArgs),
    Exec(inside::ExecArgs),
    Apply(apply::Args),
    Capture(capture::Args),
    Down(down::Args),
    Gc(gc::Args),
    Check(check::Args),
    Report(report::Args),
    Graph(graph::Args),
    Import(import::Args),
    Doctor(doctor::Args),
    Cache(cache::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// How a verb ends other than by finding out what it was asked.
#[derive(Debug, thiserror::Error)]
enum Stop {
    /// Files are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))]
    Files(Vec<Diagnostics>),
    /// It was asked for something that can't be.
    #[error("{message}")]
    Usage {
        /// What.
        message: String,
        /// What would be right.
        help: Option<String>,
    },
    /// The host can't.
    #[error(transparent)]
    Host(#[from] lab::Missing),
    /// A real component is not to be had, or is none.
    #[error(transparent)]
    Component(#[from] image::Error),
    /// A lab that is up can't, or none is.
    #[error(transparent)]
    Lab(#[from] Refusal),
    /// Nobody reads what is written, or it can't be.
    #[error("write the output")]
    Output(#[source] io::Error),
    /// The harness failed.
    #[error("{step}")]
    Harness {
        /// What was being done.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl Stop {
    fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), help: Some(help.into()) }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Files(_) | Self::Usage { .. } => exit::USAGE,
            Self::Host(_) => exit::HOST,
            Self::Component(error) if error.is_missing() => exit::HOST,
            Self::Component(_) => exit::USAGE,
            Self::Lab(refusal) => refusal.code(),
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => exit::UNREAD,
            Self::Output(_) | Self::Harness { .. } => exit::HARNESS,
        }
    }

    /// Tells the user, on standard error.
    fn tell(&self, paint: Paint) {
        let mut err = io::stderr().lock();
        let error = paint.bad("error:");
        // Where even standard error is gone there is nobody left to tell.
        let _ = match self {
            Self::Files(list) => list.iter().try_for_each(|file| writeln!(err, "{}\n", file.render(paint.0))),
            Self::Usage { message, help } => {
                let help = help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
                writeln!(err, "{error} {message}{help}")
            }
            Self::Lab(Refusal { fault: Fault::Text, message, .. }) => writeln!(err, "{message}"),
            Self::Lab(Refusal { message, help, .. }) => {
                let help = help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
                writeln!(err, "{error} {message}{help}")
            }
            // `underlay … | head` is nothing to complain about.
            Self::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Self::Host(missing) => writeln!(err, "{error} {missing}"),
            Self::Component(wrong) => writeln!(err, "{error} {wrong}\n  help: {}", wrong.remedy()),
            Self::Output(source) | Self::Harness { source, .. } => {
                let help = lab::limits::hint(source).map(|help| format!("\n  help: {help}")).unwrap_or_default();
                writeln!(err, "{error} {self}: {source}{help}")
            }
        };
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// Reads the process's arguments and does as they say. Returns the code to end with, one of [`exit`]'s.
///
/// Call it first thing in `main`, while the process has one thread.
pub fn main() -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are answers, not mistakes: those go to standard output and end with 0.
            let code = if error.use_stderr() { exit::USAGE } else { exit::OK };
            let _ = error.print();
            return code;
        }
    };
    let color = cli.color;
    let done = match cli.command {
        Command::Test(args) => test::run(&args, color),
        Command::Plan(args) => plan::run(&args, color),
        Command::Compare(args) => compare::run(&args, color),
        Command::Bisect(args) => bisect::run(&args, color),
        Command::Shrink(args) => shrink::run(&args, color),
        Command::Explore(args) => explore::run(&args, color),
        Command::Trace(args) => trace::run(&args, color),
        Command::Check(args) => check::run(&args),
        Command::Report(args) => report::run(&args, color),
        Command::Graph(args) => graph::run(&args),
        Command::Import(args) => import::run(&args, color),
        Command::Doctor(args) => doctor::run(&args, color),
        Command::Cache(args) => cache::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Up(args) => up::run(&args, color),
        Command::Ps(args) => ps::run(&args),
        Command::Shell(args) => inside::shell(&args),
        Command::Exec(args) => inside::exec(&args),
        Command::Apply(args) => apply::run(&args, color),
        Command::Capture(args) => capture::run(&args),
        Command::Down(args) => down::run(&args),
        Command::Gc(args) => gc::run(&args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    };
    done.unwrap_or_else(|stop| {
        stop.tell(color.for_stream(&io::stderr()));
        stop.code()
    })
}

/// Has labs taken down when nobody waits for the next one. Call it while the process has one thread.
fn later() -> Result<lab::teardown::Later, Stop> {
    lab::teardown::Later::begin().map_err(|source| Stop::Harness { step: "start who takes labs down", source })
}

/// A runtime on this thread alone: for what isn't a lab's, also before the process enters a namespace.
fn lone_runtime() -> Result<tokio::runtime::Runtime, Stop> {
    // Without a thread: one that has only just ended would keep the process out of a user namespace.
    let room = lab::limits::room(0);
    let runtime = room.and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
    runtime.map_err(|source| Stop::Harness { step: "start the runtime", source })
}

/// The runtime that carries labs.
fn runtime() -> Result<tokio::runtime::Runtime, Stop> {
    crate::runner::runtime().map_err(|source| Stop::Harness { step: "start the runtime", source })
}
