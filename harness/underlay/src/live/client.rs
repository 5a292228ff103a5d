//! Asking a lab that is up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use topology::source::choices;

use super::describe::Description;
use super::folder::{Entry, Folder};
use super::name::Name;
use super::protocol::{Answer, Hello, PROTOCOL, Request};
use super::refusal::Refusal;
use super::wire::Caller;

/// Within this time a supervisor says that it is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A line to a lab's supervisor.
#[derive(Debug)]
pub struct Client {
    /// The lab.
    pub lab: Name,
    caller: Caller,
}

impl Client {
    /// To the lab of that name; where none is named, to the only one.
    ///
    /// # Errors
    /// There is no such lab, there are several, or its supervisor doesn't answer or is of another version.
    pub fn connect(folder: &Folder, wanted: Option<&Name>) -> Result<Self, Refusal> {
        let labs = folder.labs()?;
        let entry = choose(&labs, wanted)?;
        Self::to(folder, entry)
    }

    /// To this one.
    ///
    /// # Errors
    /// Its supervisor doesn't answer or is of another version.
    pub fn to(folder: &Folder, lab: &Entry) -> Result<Self, Refusal> {
        let name = &lab.name;
        let socket = UnixStream::connect(folder.socket(name)).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::ENOENT | Errno::ECONNREFUSED => Refusal::usage(
                    format!("lab `{name}` is coming up or going down"),
                    "ask again in a moment: `underlay ps`",
                ),
                _ => Refusal::harness(&format!("reach lab `{name}`"), &error),
            }
        })?;
        let mut caller = Caller::new(socket);
        let silent = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                let message = format!("the supervisor of lab `{name}`, {}, doesn't answer", lab.process());
                Refusal::usage(message, lab.last_resort())
            }
            _ => gone(name),
        };
        let greeted = || -> io::Result<Hello> {
            caller.socket().set_read_timeout(Some(PATIENCE))?;
            caller.say(&Hello::ours())?;
            let (hello, _) = caller.hear::<Hello>()?;
            caller.socket().set_read_timeout(None)?;
            Ok(hello)
        };
        let mut greeted = greeted;
        let hello = greeted().map_err(silent)?;
        if hello.protocol != PROTOCOL {
            let ours = Hello::ours();
            return Err(Refusal::usage(
                format!(
                    "lab `{name}` was brought up by underlay {} (protocol {}), and this is {} (protocol {})",
                    hello.underlay, hello.protocol, ours.underlay, ours.protocol
                ),
                format!("use the program that brought it up, or `underlay down {name}`, which any version can"),
            ));
        }
        Ok(Self { lab: name.clone(), caller })
    }

    /// Asks.
    ///
    /// # Errors
    /// The lab is gone, or its refusal.
    pub fn ask(&mut self, request: &Request) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        self.caller.say(request).map_err(|_| gone(&self.lab))?;
        self.hear()
    }

    /// The next line of an answer of several.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn hear(&mut self) -> Result<(Answer, Vec<OwnedFd>), Refusal> {
        match self.caller.hear::<Answer>() {
            Ok((Answer::Refused(refusal), _)) => Err(refusal),
            Ok(answer) => Ok(answer),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(gone(&self.lab)),
            Err(error) => Err(Refusal::harness(&format!("hear lab `{}`", self.lab), &error)),
        }
    }

    /// What the lab is and how it is.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn describe(&mut self) -> Result<Description, Refusal> {
        match self.ask(&Request::Describe)? {
            (Answer::Lab(description), _) => Ok(*description),
            _ => Err(self.nonsense()),
        }
    }

    /// What to say to an answer that belongs to another question.
    pub fn nonsense(&self) -> Refusal {
        let error = io::Error::other("the answer belongs to another question");
        Refusal::harness(&format!("hear lab `{}`", self.lab), &error)
    }

    /// The socket: once all that was asked is answered, nothing but the lab's end comes over it.
    pub fn socket(&self) -> &UnixStream {
        self.caller.socket()
    }

    /// Whether the lab is gone. Everything that was asked must have been answered.
    pub fn is_over(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        use std::os::fd::AsFd;
        let mut events = [PollFd::new(self.socket().as_fd(), PollFlags::POLLIN)];
        poll(&mut events, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

fn gone(name: &Name) -> Refusal {
    Refusal::usage(format!("lab `{name}` went down"), "`underlay up` brings one up")
}

/// The lab that is meant.
///
/// # Errors
/// There is none, or there are several.
pub fn choose<'a>(labs: &'a [Entry], wanted: Option<&Name>) -> Result<&'a Entry, Refusal> {
    let names = || labs.iter().map(|lab| lab.name.as_str());
    match (wanted, labs) {
        (_, []) => Err(Refusal::usage("no lab is up", "`underlay up SCENARIO` brings one up")),
        (None, [one]) => Ok(one),
        (None, several) => Err(Refusal::usage(
            format!("{} labs are up, and none is named", several.len()),
            format!("name one: {}", names().collect::<Vec<_>>().join(", ")),
        )),
        (Some(wanted), labs) => labs.iter().find(|lab| lab.name == *wanted).ok_or_else(|| {
            Refusal::usage(format!("no lab called `{wanted}` is up"), choices(wanted.as_str(), "labs", names()))
        }),
    }
}
