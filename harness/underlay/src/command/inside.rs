//! `underlay shell` and `underlay exec`: commands in a place of a lab that is up.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueHint;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::Stop;
use crate::live::client::Client;
use crate::live::enter;
use crate::live::folder::Folder;
use crate::live::protocol::{Answer, Entrance, Request};
use crate::live::{Name, Refusal};

const SHELL_EXAMPLES: &str = "\
Examples:
  underlay shell master
  underlay shell master/pod
  underlay shell worker --lab demo

Inside, `ip`, `ping`, `dig`, `ss`, `tcpdump` and all that the host has see the place's network and name server. Files are
the host's. What is started there ends with the lab.";

const EXEC_EXAMPLES: &str = "\
Examples:
  underlay exec master -- ip route
  underlay exec master/pod -- ping -c1 8.8.8.8
  underlay exec vcn/a -- nft list ruleset

Ends with the command's exit code: 127 where there is no such command, 126 where it can't be run, 128 and the signal's
number where a signal ended it.";

/// The code of shells for a command that isn't there.
const NOT_FOUND: u8 = 127;
/// The code of shells for a command that can't be run.
const NOT_RUNNABLE: u8 = 126;

/// Which lab.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// The lab; may be left out where one is up.
    #[arg(long, value_name = "NAME", env = "UNDERLAY_LAB", hide_env_values = true)]
    pub(super) lab: Option<Name>,
}

/// Open a shell in a node, pod or gateway of a lab that is up.
#[derive(Debug, clap::Args)]
#[command(after_help = SHELL_EXAMPLES)]
pub(super) struct ShellArgs {
    /// The place: `master`, `master/pod`, `vcn/a`, `internet`.
    place: String,

    #[command(flatten)]
    which: Which,

    /// The shell [default: bash, or sh where there is none].
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName)]
    shell: Option<PathBuf>,
}

/// Run a command in a node, pod or gateway of a lab that is up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXEC_EXAMPLES)]
pub(super) struct ExecArgs {
    /// The place: `master`, `master/pod`, `vcn/a`, `internet`.
    place: String,

    #[command(flatten)]
    which: Which,

    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD", value_hint = ValueHint::CommandWithArguments)]
    command: Vec<OsString>,
}

pub(super) fn shell(args: &ShellArgs) -> Result<u8, Stop> {
    let place = Place::go(&args.place, &args.which)?;
    let bash = Path::new("/bin/bash");
    let program = args.shell.clone().unwrap_or_else(|| if bash.exists() { bash.into() } else { "/bin/sh".into() });
    let mut command = Command::new(&program);
    let is_bash = program.file_name().is_some_and(|name| name == "bash");
    // Kept until the shell has read it.
    let greeting = is_bash.then(greeting).transpose();
    let greeting = greeting.map_err(|source| Stop::Harness { step: "write the shell's prompt", source })?;
    match &greeting {
        Some(file) => command.arg("--rcfile").arg(format!("/proc/self/fd/{}", file.as_raw_fd())),
        // What plain shells take for their prompt.
        None => command.env("PS1", format!("[{}:{}] $ ", place.entrance.lab, place.entrance.place)),
    };
    place.run(command)
}

pub(super) fn exec(args: &ExecArgs) -> Result<u8, Stop> {
    let place = Place::go(&args.place, &args.which)?;
    let mut words = args.command.iter();
    let mut command = Command::new(words.next().map(OsString::as_os_str).unwrap_or_default());
    command.args(words);
    place.run(command)
}

/// What bash reads before its first prompt: the user's own settings, then the prompt. Names come from the environment
/// when it is shown, so nothing in them is run.
fn greeting() -> io::Result<File> {
    const TEXT: &str = "[ -f ~/.bashrc ] && . ~/.bashrc\nunset PROMPT_COMMAND\n\
                        PS1='\\[\\e[1;36m\\][${UNDERLAY_LAB}:${UNDERLAY_PLACE}]\\[\\e[0m\\] \\w \\$ '\n";
    let mut file = File::from(memfd_create(c"underlay-prompt", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(TEXT.as_bytes())?;
    file.seek(SeekFrom::Start(0))?;
    fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(file)
}

/// A place that this process has entered.
struct Place {
    entrance: Entrance,
    client: Client,
}

impl Place {
    fn go(place: &str, which: &Which) -> Result<Self, Stop> {
        let folder = Folder::of_user()?;
        let mut client = Client::connect(&folder, which.lab.as_ref())?;
        let (Answer::Entrance(entrance), descriptors) = client.ask(&Request::Enter { place: place.to_owned() })? else {
            return Err(client.nonsense().into());
        };
        enter::enter(&entrance, &descriptors, folder.path()).map_err(|error| {
            Refusal::harness(&format!("go into {} of lab `{}`", entrance.place, entrance.lab), &error)
        })?;
        Ok(Self { entrance, client })
    }

    fn run(self, mut command: Command) -> Result<u8, Stop> {
        command.env("UNDERLAY_LAB", self.entrance.lab.as_str()).env("UNDERLAY_PLACE", &self.entrance.place);
        let program = command.get_program().to_string_lossy().into_owned();
        let runtime = super::lone_runtime()?;
        let mut err = io::stderr();
        match runtime.block_on(enter::run(command.into())) {
            Ok(status) => {
                if !status.success() && self.client.is_over() {
                    let _ = writeln!(err, "lab `{}` went down", self.entrance.lab);
                }
                Ok(enter::code(status))
            }
            Err(error) if self.client.is_over() => {
                Err(Refusal::harness(&format!("lab `{}` went down", self.entrance.lab), &error).into())
            }
            Err(error) => {
                let _ = writeln!(err, "underlay: {program}: {error}");
                Ok(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
            }
        }
    }
}
