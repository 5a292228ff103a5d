//! `underlay up`: a lab that stays up.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::exit;

use lab::sys::fork_alone;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, close, dup2_stderr, dup2_stdin, dup2_stdout, setsid};

use super::engine::{EngineName, Real};
use super::{Stop, select};
use crate::case::Case;
use crate::exit::{HARNESS, OK};
use crate::live::describe::{Description, State};
use crate::live::folder::Folder;
use crate::live::supervisor::{self, Order};
use crate::live::{Name, Refusal};
use crate::report::paint::{Color, Paint};
use crate::scenario::Overrides;

const EXAMPLES: &str = "\
Examples:
  underlay up scenarios/guide/table.yaml::tailscale0
                                     until Ctrl-C, or `underlay down` elsewhere
  underlay up --detach scenarios/guide/table.yaml::enp0s6
  underlay up --detach --name demo --cilium 1.19.0 scenarios/guide/table.yaml::unset";

/// Bring a scenario's network and cluster up and keep them.
///
/// Builds the network, installs Cilium and takes the scenario's steps, as `underlay test` does, and then sends nothing:
/// `underlay shell`, `exec`, `trace`, `apply` and `capture` do with it what you like, and `underlay down` ends it. So
/// does the end of the process that keeps it, however that comes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A scenario file; of several variants, FILE::VARIANT.
    scenario: select::Target,

    /// What the lab is called [default: after the scenario and the variant].
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,

    /// Keep it in the background.
    #[arg(long, short)]
    detach: bool,

    /// Who puts the cluster on the network.
    #[arg(long, value_enum, default_value = "netns")]
    engine: EngineName,

    #[command(flatten)]
    real: Real,

    /// Whose rules decide, in place of what the file says: `cilium` or `guide`.
    #[arg(long, value_name = "MODEL")]
    model: Option<cilium::Model>,

    /// The Cilium version, in place of what the file says.
    #[arg(long, value_name = "VERSION")]
    cilium: Option<cilium::Version>,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let overrides = Overrides { model: args.model, version: args.cilium.clone(), deadline: None };
    let case = select::one(&args.scenario, &overrides, "a lab")?;
    let name = args.name.clone().unwrap_or_else(|| Name::of(&case));
    let folder = Folder::of_user()?;
    let others = folder.labs()?;
    if others.iter().any(|lab| lab.name == name) {
        return Err(folder.taken(&name).into());
    }
    let paint = color.for_stream(&io::stdout());
    let shown = Shown { case: case.clone(), alone: others.is_empty(), paint };
    let images = args.real.images(&[args.engine], std::slice::from_ref(&case))?;
    let order = Order { case, engine: args.engine.engine(&args.real, &images)?, name, folder };
    if args.detach {
        return detached(order, args.engine, &shown);
    }
    let told = |lab: &Description| {
        let mut out = io::stdout().lock();
        write!(out, "{}", shown.text(lab))?;
        writeln!(out, "\nUp until Ctrl-C.")?;
        out.flush()
    };
    Ok(keep(order, args.engine, told)?)
}

/// Keeps it, in this process.
fn keep(order: Order, engine: EngineName, up: impl FnOnce(&Description) -> io::Result<()>) -> Result<u8, Refusal> {
    let _keeper = engine.keeper().map_err(|error| Refusal::harness("start the keeper of cgroups", &error))?;
    supervisor::keep(order, up)
}

/// Has a process of its own keep it, which tells whether it is up.
fn detached(order: Order, engine: EngineName, shown: &Shown) -> Result<u8, Stop> {
    let failed = |step: &'static str| move |source: io::Error| Stop::Harness { step, source };
    let (ours, theirs) = UnixStream::pair().map_err(failed("make a line to the supervisor"))?;
    let (name, log) = (order.name.clone(), order.folder.log(&order.name));
    match fork_alone().map_err(failed("start the supervisor"))? {
        ForkResult::Child => {
            drop(ours);
            exit(i32::from(in_background(order, engine, theirs)))
        }
        ForkResult::Parent { .. } => drop(theirs),
    }
    let mut line = String::new();
    BufReader::new(ours).read_line(&mut line).map_err(failed("hear the supervisor"))?;
    match serde_json::from_str::<Result<Description, Refusal>>(&line) {
        Ok(Ok(lab)) => {
            write!(io::stdout(), "{}", shown.text(&lab))?;
            Ok(OK)
        }
        Ok(Err(refusal)) => Err(refusal.into()),
        Err(_) => {
            let source = io::Error::other(format!("it ended; what it said is in {}", log.display()));
            Err(Refusal::harness(&format!("hear the supervisor of lab `{name}`"), &source).into())
        }
    }
}

/// The supervisor's life.
fn in_background(order: Order, engine: EngineName, line: UnixStream) -> u8 {
    let tell = |said: &Result<&Description, &Refusal>| {
        let mut text = serde_json::to_vec(said)?;
        text.push(b'\n');
        (&line).write_all(&text)
    };
    let done = leave_terminal(&order)
        .map_err(|error| Refusal::harness("leave the terminal", &error))
        .and_then(|()| keep(order, engine, |lab| tell(&Ok(lab))));
    match done {
        Ok(code) => code,
        Err(refusal) => {
            let code = refusal.code();
            // Who asked may have gone; the code then says it to nobody too.
            if tell(&Err(&refusal)).is_err() { HARNESS } else { code }
        }
    }
}

/// Nothing that happens to the terminal is this process's affair any more.
fn leave_terminal(order: &Order) -> io::Result<()> {
    setsid()?;
    close_inherited()?;
    let null = File::open("/dev/null")?;
    let log = order.folder.open_log(&order.name)?;
    dup2_stdin(&null)?;
    dup2_stdout(&log)?;
    dup2_stderr(&log)?;
    Ok(())
}

/// Closes what was open when the program started, but its streams: a pipe whose end somebody waits for, a lock, make's
/// jobserver. It is told by not being closed on exec, as all is that the program opens itself.
fn close_inherited() -> io::Result<()> {
    for descriptor in lab::sys::descriptors()? {
        // The folder itself was among them, and is gone.
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}")).unwrap_or_default();
        if is_inherited(&text) {
            close(descriptor)?;
        }
    }
    Ok(())
}

/// By what fdinfo says of a descriptor (proc_pid_fdinfo(5)).
fn is_inherited(text: &str) -> bool {
    let flags = text.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & OFlag::O_CLOEXEC.bits().cast_unsigned() == 0)
}

/// What is shown of a lab that has come up.
struct Shown {
    case: Case,
    alone: bool,
    paint: Paint,
}

impl Shown {
    fn text(&self, lab: &Description) -> String {
        let Description { name, scenario, variant, engine, cilium, .. } = lab;
        let mut lines = vec![format!(
            "{} is up: {scenario}::{variant} on {engine}, Cilium {cilium}",
            self.paint.strong(name.as_str())
        )];
        let state = lab.state.clone().unwrap_or_default();
        lines.extend(self.nodes(&state));
        lines.push(String::new());
        lines.push(self.paint.strong("Next"));
        let width = self.hints(lab, &state).iter().map(|(command, _)| command.len()).max().unwrap_or(0);
        let hints = self.hints(lab, &state).into_iter();
        lines.extend(hints.map(|(command, what)| format!("  {command:width$}  {}", self.paint.faint(what))));
        lines.push(String::new());
        lines.join("\n")
    }

    fn nodes(&self, state: &State) -> Vec<String> {
        let mut lines = Vec::new();
        for (name, node) in &state.nodes {
            if node.agent != "running" {
                lines.push(format!("  {name}  {} {}", self.paint.bad("agent dead:"), node.agent));
                continue;
            }
            let devices = if node.devices.is_empty() { "none".to_owned() } else { node.devices.join(", ") };
            let ip = node.node_ip.as_deref().unwrap_or("none");
            lines.push(format!("  {name}  node IP {ip}, devices {devices}"));
        }
        for spot in &state.places {
            if let Some((node, _)) = spot.name.split_once('/')
                && state.nodes.contains_key(node)
            {
                let addresses: Vec<_> = spot.addresses.values().flatten().map(ToString::to_string).collect();
                lines.push(format!("  {}  {}", spot.name, addresses.join(", ")));
            }
        }
        let dns = &state.dns;
        if dns.replicas > 0 {
            lines.push(format!("  CoreDNS  {} of {} ready", dns.ready, dns.replicas));
        }
        lines
    }

    /// Commands that work in this lab.
    fn hints(&self, lab: &Description, state: &State) -> Vec<(String, &'static str)> {
        let Description { name, .. } = lab;
        let (which, at) = match self.alone {
            true => (String::new(), "@".to_owned()),
            false => (format!(" --lab {name}"), format!("@{name}")),
        };
        let pods: Vec<_> = state.places.iter().map(|spot| &spot.name).filter(|name| name.ends_with("/pod")).collect();
        let nodes: Vec<_> = self.case.network.cluster_nodes().collect();
        let mut hints = Vec::new();
        if let Some(place) = pods.first().copied().or(nodes.first().map(|node| &node.name)) {
            hints.push((format!("underlay shell {place}{which}"), "look around; `exit` leaves"));
            hints.push((format!("underlay exec {place}{which} -- ip route"), "run a command"));
        }
        if let [first, .., last] = pods.as_slice() {
            hints.push((format!("underlay trace {at} {first} {last}"), "a packet's way"));
        }
        if let Some((node, nic)) = nodes.last().and_then(|node| Some((node, node.nics.first()?))) {
            hints.push((format!("underlay apply{which} 'link-down: {}/{}'", node.name, nic.name), "take a step"));
        }
        hints.push((format!("underlay capture{which} --write - | wireshark -k -i -"), "watch packets"));
        hints.push((format!("underlay down {name}"), "the end of it"));
        hints
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn what_exec_closes_is_the_programs_own() {
        // Both as Linux 6.18 tells of /dev/null, on x86-64.
        assert!(is_inherited("pos:\t0\nflags:\t0100000\nmnt_id:\t26\nino:\t5\n"));
        assert!(!is_inherited("pos:\t0\nflags:\t02100000\nmnt_id:\t26\nino:\t5\n"));
        assert!(!is_inherited(""), "nothing is known of it");
        let own = File::open("/dev/null").expect("it is there");
        let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", own.as_raw_fd())).expect("it is open");
        assert!(!is_inherited(&text), "{text}");
    }
}
