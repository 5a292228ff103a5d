//! `underlay capture`: the packets of a lab that is up, as they pass.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use lab::Namespace;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use probe::capture::decode::LinkLayer;
use probe::capture::stream::{Seen, Stream};

use super::Stop;
use super::inside::Which;
use crate::exit;
use crate::live::client::Client;
use crate::live::folder::Folder;
use crate::live::protocol::{Answer, NamespaceKind, Request};
use crate::live::{Refusal, enter};
use crate::report::pcapng::{Packet, Packets};

const EXAMPLES: &str = "\
Examples:
  underlay capture --write - | wireshark -k -i -
  underlay capture --write - | tshark -r -
  underlay capture master worker --write nodes.pcapng
  underlay capture master/pod --write - | tcpdump -nr -

Each interface of each place is an interface of the file, `master/enp0s6`: in Wireshark, frame.interface_name. Ends with
Ctrl-C, with the lab, or when nobody reads any more.";

/// How long packets that are held back wait for others, in milliseconds.
const HELD: u8 = 5;

/// Write the packets of a lab that is up, as they pass, in pcapng.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Where to look: `master`, `master/pod`, `vcn/a`, `internet` [default: everywhere].
    places: Vec<String>,

    /// The file to write; `-` for standard output.
    #[arg(long, short, value_name = "FILE", value_hint = ValueHint::FilePath)]
    write: PathBuf,

    /// End after so many packets.
    #[arg(long, short, value_name = "N")]
    count: Option<u64>,

    #[command(flatten)]
    which: Which,
}

pub(super) fn run(args: &Args) -> Result<u8, Stop> {
    let to_stdout = args.write == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        let help = "pipe it: `underlay capture --write - | tshark -r -`; or name a file";
        return Err(Stop::usage("packets are nothing for a terminal", help));
    }
    let folder = Folder::of_user()?;
    let mut client = Client::connect(&folder, args.which.lab.as_ref())?;
    let namespaces = namespaces(&mut client, &args.places)?;
    // Sockets want one, though nothing here is asynchronous.
    let runtime = super::lone_runtime()?;
    let _inside = runtime.enter();
    let mut stream = Stream::open(&namespaces).map_err(|error| failed("capture", &error))?;
    // Opened by now, before anything else is asked for: a file that can't be written is a mistake of its own.
    let out: Box<dyn Write> = match to_stdout {
        true => Box::new(io::stdout().lock()),
        false => Box::new(create(&args.write)?),
    };
    let signals = signals().map_err(|source| Stop::Harness { step: "catch signals", source })?;
    let mut packets = Packets::new(BufWriter::new(out))?;
    packets.flush()?;
    tell(&format!("capturing in {} places; Ctrl-C ends it", namespaces.len()));

    let (mut written, mut over) = (0, false);
    let wanted = args.count.unwrap_or(u64::MAX);
    while !over && written < wanted {
        over = wait(&stream, &client, &signals).map_err(|source| Stop::Harness { step: "wait for packets", source })?;
        for seen in stream.read() {
            if written == wanted {
                break;
            }
            packets.write(&packet(&seen))?;
            written += 1;
        }
        packets.flush()?;
    }
    let lost = stream.lost();
    let lost = if lost > 0 { format!(", {lost} lost: there was no time to write them") } else { String::new() };
    tell(&format!("{written} packets{lost}"));
    Ok(exit::OK)
}

/// What goes on, for who wants to know.
fn tell(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn failed(step: &str, error: &(dyn std::error::Error + 'static)) -> Refusal {
    crate::observed::EngineError::failed(step, error).into()
}

/// The places' namespaces. This process is in one of them from here on, so that it may enter the others.
fn namespaces(client: &mut Client, places: &[String]) -> Result<Vec<Namespace>, Refusal> {
    let mut namespaces = Vec::new();
    let mut answer = client.ask(&Request::Namespaces { places: places.to_vec() })?;
    loop {
        match answer {
            (Answer::Namespace { kind, name }, descriptors) => {
                for descriptor in descriptors {
                    if kind != NamespaceKind::Network || namespaces.is_empty() {
                        enter::join(kind, descriptor.as_fd()).map_err(|error| failed("reach the lab", &error))?;
                    }
                    if kind == NamespaceKind::Network {
                        namespaces.push(Namespace::of_fd(name.clone(), descriptor));
                    }
                }
            }
            (Answer::Done, _) => return Ok(namespaces),
            _ => return Err(client.nonsense()),
        }
        answer = client.hear()?;
    }
}

fn create(path: &Path) -> Result<File, Stop> {
    File::create(path)
        .map_err(|error| Stop::usage(format!("{}: {error}", path.display()), "name a file that can be written"))
}

/// The signals that end a capture in good order.
fn signals() -> io::Result<SignalFd> {
    let mut ending = SigSet::empty();
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| ending.add(signal));
    ending.thread_block()?;
    Ok(SignalFd::with_flags(&ending, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

/// Waits for packets. Whether it is over: by a signal, with the lab.
fn wait(stream: &Stream, client: &Client, signals: &SignalFd) -> io::Result<bool> {
    let on = |fd| PollFd::new(fd, PollFlags::POLLIN);
    let mut events = [on(stream.as_fd()), on(client.socket().as_fd()), on(signals.as_fd())];
    let patience = if stream.holds() { HELD.into() } else { PollTimeout::NONE };
    match poll(&mut events, patience) {
        Ok(_) | Err(nix::Error::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    let [_, lab, signal] = events.map(|event| event.any().unwrap_or(false));
    Ok(lab || signal)
}

fn packet(seen: &Seen) -> Packet<'_> {
    Packet {
        namespace: &seen.namespace,
        interface: &seen.interface,
        ethernet: seen.layer == LinkLayer::Ethernet,
        direction: seen.direction,
        time: seen.time,
        length: seen.length,
        bytes: &seen.bytes,
        comment: None,
    }
}
