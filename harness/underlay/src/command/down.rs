//! `underlay down`: the end of labs.

use std::io::{self, Write};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};

use super::Stop;
use crate::exit;
use crate::live::client::choose;
use crate::live::folder::{Entry, Folder};
use crate::live::{Name, Refusal};

/// A supervisor ends at once; what it waits for is the kernel.
const PATIENCE: Duration = Duration::from_secs(20);

const EXAMPLES: &str = "\
Examples:
  underlay down              the only lab
  underlay down demo
  underlay down --all";

/// Take a lab down, with all that runs in it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The lab; may be left out where one is up.
    #[arg(env = "UNDERLAY_LAB", hide_env_values = true)]
    name: Option<Name>,

    /// All that are up.
    #[arg(long, conflicts_with = "name")]
    all: bool,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let folder = Folder::of_user()?;
    let labs = folder.labs()?;
    let chosen = match args.all {
        true => labs.iter().collect(),
        false => vec![choose(&labs, args.name.as_ref())?],
    };
    // All are told before the first is waited for; one that can't be told keeps none of the others up.
    let told: Vec<_> = chosen.iter().map(|lab| (lab, tell(lab))).collect();
    for (lab, _) in told.iter().filter(|(_, told)| told.is_ok()) {
        wait(&folder, lab)?;
        writeln!(io::stdout(), "{} is down", lab.name)?;
    }
    if chosen.is_empty() {
        writeln!(io::stdout(), "no lab is up")?;
    }
    // What it left, if it was killed while it went.
    folder.labs()?;
    told.into_iter().try_for_each(|(_, told)| told)?;
    Ok(exit::OK)
}

fn tell(lab: &Entry) -> Result<(), Refusal> {
    let name = &lab.name;
    let Some(supervisor) = lab.supervisor else {
        let message = format!("the supervisor of lab `{name}` can't be seen from here: it is in another pid namespace");
        let help = format!(
            "inside of a lab's shell, leave it first; else `underlay down {name}` where it was brought up (in that \
             container, or on the host)"
        );
        return Err(Refusal::usage(message, help));
    };
    match kill(supervisor, Signal::SIGTERM) {
        // It has ended meanwhile.
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Refusal::harness(&format!("tell lab `{name}` to end"), &errno.into())),
    }
}

fn wait(folder: &Folder, lab: &Entry) -> Result<(), Refusal> {
    let (told, ended) = mpsc::channel();
    let (folder, name) = (folder.clone(), lab.name.clone());
    let waits = thread::Builder::new().spawn(move || told.send(folder.wait(&name)));
    waits.map_err(|error| Refusal::harness("start a thread", &error))?;
    match ended.recv_timeout(PATIENCE) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Refusal::harness(&format!("wait for the end of lab `{}`", lab.name), &error)),
        Err(_) => {
            let message = format!("lab `{}` didn't go down within {} s", lab.name, PATIENCE.as_secs());
            Err(Refusal::usage(message, lab.last_resort()))
        }
    }
}
