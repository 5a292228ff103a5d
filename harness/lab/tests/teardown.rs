//! Namespaces that are taken down later. Alone in its process: it is the process that puts it off.

use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lab::netlink::{VethEnd, add_veth};
use lab::teardown::Later;
use lab::{Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{pipe, pipe2};

/// The kernel takes namespaces down behind us.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let barred = lab::sandbox::enter().err();
    if let (Some(reason), false) = (&barred, arguments.list) {
        eprintln!("all is ignored: {reason}");
    }
    // One as a program is handed it, one as it opens its own.
    let pipes = [pipe(), pipe2(OFlag::O_CLOEXEC)].map(|made| made.expect("a pipe"));
    // Before the first thread.
    let first = Later::begin().expect("a process with one thread can be forked");
    let pipes = pipes.map(|(out, into)| {
        drop(into);
        out
    });
    let trial = Trial::test("when_the_last_who_puts_it_off_is_gone", move || {
        let_go(&pipes)?;
        later(first)
    });
    let trial = trial.with_ignored_flag(barred.is_some());
    libtest_mimic::run(&arguments, vec![trial]).exit_code()
}

/// While namespaces are put off, nobody else has these pipes' other ends: a program waits for the end of what another
/// writes.
fn let_go(pipes: &[OwnedFd]) -> Result<(), Failed> {
    for pipe in pipes {
        let mut ended = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ended, PollTimeout::try_from(PATIENCE)?)? == 0 {
            return Err("who takes namespaces down should have nothing open of who started it".into());
        }
    }
    Ok(())
}

fn later(first: Later) -> Result<(), Failed> {
    let witness = Namespace::create("witness", &Sysctls::HOST)?;
    let ours = Namespace::create("ours", &Sysctls::HOST)?;
    // What somebody else made is nobody's to keep.
    let other = std::thread::spawn(|| -> Result<Namespace, String> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| errno.to_string())?;
        Namespace::open("other", Path::new("/proc/thread-self/ns/net")).map_err(|error| error.to_string())
    });
    let other = other.join().map_err(|_| "the thread should end")??;
    add_veth(VethEnd::new(&witness, "to-ours", 1500), VethEnd::new(&ours, "eth0", 1500))?;
    add_veth(VethEnd::new(&witness, "to-other", 1500), VethEnd::new(&other, "eth0", 1500))?;

    let still = Namespace::of_fd("ours, once more", ours.as_fd().try_clone_to_owned()?);
    ask_for_a_neighbour(&ours)?;
    if still.netlink()?.neighbours()?.is_empty() {
        return Err("who sends to an address on its link should ask for that neighbour".into());
    }

    let second = Later::begin()?;
    drop(ours);
    until("a kept namespace should forget its neighbours, since their table is the host's", || {
        Ok(still.netlink()?.neighbours()?.is_empty())
    })?;
    drop(still);
    drop(other);
    // The kernel takes them down in the order they ended.
    until("the other's end should be gone", || Ok(!has(&witness, "to-other")?))?;
    drop(first);
    if !has(&witness, "to-ours")? {
        return Err("a namespace should be kept while somebody puts its end off".into());
    }
    drop(second);
    until("its end should be gone once nobody puts that off", || Ok(!has(&witness, "to-ours")?))
}

fn ask_for_a_neighbour(namespace: &Namespace) -> Result<(), Failed> {
    let mut netlink = namespace.netlink()?;
    netlink.add_address("eth0", "192.0.2.1/24".parse()?)?;
    netlink.link_up("eth0")?;
    drop(netlink);
    let socket = namespace.enter(|| UdpSocket::bind("192.0.2.1:0"))??;
    socket.send_to(b"anybody?", "192.0.2.2:9")?;
    Ok(())
}

fn has(namespace: &Namespace, link: &str) -> lab::Result<bool> {
    Ok(namespace.netlink()?.links()?.iter().any(|known| known.name == link))
}

fn until(what: &str, holds: impl Fn() -> lab::Result<bool>) -> Result<(), Failed> {
    let began = Instant::now();
    while !holds()? {
        if began.elapsed() > PATIENCE {
            return Err(format!("{what}, within {PATIENCE:?}").into());
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
