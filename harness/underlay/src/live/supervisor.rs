//! Keeps a lab up and answers who asks for it, until it is told to end.
//!
//! The lab ends with this process, however that ends: its namespaces are this process's descriptors, and what runs in
//! them has [`Init`] for its first process, which goes when this one goes.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use lab::Namespace;
use lab::init::Init;
use lab::netlink::watch_network;
use lab::sandbox::{self, Privilege};
use nix::errno::Errno;
use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, RwLock};
use topology::source::choices;

use super::describe::{Applied, Description, Identity, State, place};
use super::folder::{Claim, Folder};
use super::name::Name;
use super::protocol::{Answer, Entrance, Hello, NamespaceKind, PROTOCOL, Request};
use super::refusal::{Fault, Refusal};
use super::resolver::resolv_conf;
use super::wire::Listener;
use crate::case::Case;
use crate::engine::live::Live;
use crate::exit;
use crate::observed::{Engine, EngineError};
use crate::report::schema::{self, Dns};
use crate::report::trace::Traced;
use crate::runner::{self, Interrupt, Interrupts};
use crate::scenario;
use crate::step::Step;
use crate::verdict::judge_steps;

/// Within this time a client has said its first line.
const PATIENCE: Duration = Duration::from_secs(5);

/// Changes of a node's network are taken note of together that come within this time, as agents do (Cilium 1.18,
/// pkg/datapath/linux/devices_controller.go).
const BATCH: Duration = Duration::from_millis(100);

/// What is to be kept up.
pub struct Order {
    /// The case.
    pub case: Case,
    /// Who puts the cluster on the network.
    pub engine: Arc<dyn Engine>,
    /// The lab's name.
    pub name: Name,
    /// Where it is found.
    pub folder: Folder,
}

/// Brings a lab up, says so, and keeps it until SIGINT or SIGTERM. Gives the code to end with.
///
/// Call it while the process has one thread. If nobody wants to hear that it is up, it goes down again.
///
/// # Errors
/// It doesn't come up.
pub fn keep(order: Order, up: impl FnOnce(&Description) -> io::Result<()>) -> Result<u8, Refusal> {
    let privilege = sandbox::enter()?;
    let init = Init::start().map_err(|error| {
        let refusal = Refusal::harness("begin a pid namespace for the lab's commands", &error);
        let help = refusal.help.or_else(|| remedy(&error.to_string()).map(str::to_owned));
        Refusal { help, ..refusal }
    })?;
    let claim = order.folder.claim(&order.name)?;
    let runtime = runner::runtime().map_err(|error| Refusal::harness("start the runtime", &error))?;
    let engine = Arc::clone(&order.engine);
    let code = runtime.block_on(async {
        let code = run(order, claim, privilege, init, up).await;
        runner::close(&*engine).await;
        code
    });
    // What a blocking thread still does in the kernel ends with the process.
    runtime.shutdown_background();
    code
}

/// What helps where [`Init`] doesn't start, by what it said: another process did, so there are a step and an errno in it,
/// as text. None where nothing is known to help.
fn remedy(said: &str) -> Option<&'static str> {
    let errno = said.rsplit_once("(os error ").and_then(|(_, end)| end.strip_suffix(')')?.parse::<i32>().ok());
    let step = |step: &str| said.contains(step);
    // ENOSPC is about limits here, not about disks (pid_namespaces(7), mount_namespaces(7)).
    Some(match Errno::from_raw(errno?) {
        Errno::EPERM if step("mount a /proc") => {
            "in a container, /proc has to be unmasked: docker run --security-opt systempaths=unconfined, or run as root"
        }
        Errno::EACCES if step("mount a /proc") || step("keep mounts") => {
            "AppArmor or SELinux forbids mounts here; in a container: docker run --security-opt apparmor=unconfined"
        }
        Errno::EPERM if step("namespace") => {
            "a filter forbids it; in a container: docker run --security-opt seccomp=unconfined"
        }
        Errno::ENOSPC if step("make a pid namespace") => {
            "there are no more of them allowed: sysctl user.max_pid_namespaces=15000; or 32 are in each other here \
             already"
        }
        Errno::ENOSPC if step("make a mount namespace") => {
            "there are no more of them allowed: sysctl user.max_mnt_namespaces=15000"
        }
        Errno::ENOSPC if step("mount a /proc") => "there are no more mounts allowed: sysctl fs.mount-max=200000",
        Errno::EINVAL if step("make a pid namespace") => "this kernel has no pid namespaces: it takes CONFIG_PID_NS",
        Errno::EAGAIN => "there are no more processes allowed: ulimit -u 4096, or more for this cgroup (pids.max)",
        Errno::EMFILE => "there are no more open files allowed: ulimit -n 4096",
        _ => return None,
    })
}

async fn run(
    order: Order,
    claim: Claim,
    privilege: Privilege,
    init: Init,
    up: impl FnOnce(&Description) -> io::Result<()>,
) -> Result<u8, Refusal> {
    let failed = |step: &'static str| move |error: io::Error| Refusal::harness(step, &error);
    let mut interrupts = Interrupts::catch().map_err(failed("catch signals"))?;
    let live = tokio::select! {
        live = order.engine.up(&order.case) => live?,
        interrupt = interrupts.next() => return Ok(match interrupt {
            Interrupt::Int => exit::INTERRUPTED,
            Interrupt::Term => exit::TERMINATED,
        }),
    };
    if let Some(vain) = live.timeline().in_vain() {
        let help = "`underlay test` shows what came of each step; without that one, and those behind it, it comes up";
        return Err(Refusal { fault: Fault::Cluster, message: vain, help: Some(help.to_owned()) });
    }
    let user = match privilege {
        Privilege::Root => None,
        Privilege::UserNamespace => {
            Some(fs::File::open("/proc/self/ns/user").map_err(failed("open the user namespace"))?.into())
        }
    };
    let identity = Identity { name: order.name.clone(), engine: order.engine.name(), since: SystemTime::now() };
    let line = watch(&init).map_err(failed("watch the lab's first process"))?;
    let listener = listen(&order).map_err(failed("listen for whoever asks"))?;
    let case = live.case().clone();
    let hosted = Hosted {
        identity,
        engine: Arc::clone(&order.engine),
        case,
        user,
        init,
        live: RwLock::new((live, Vec::new())),
        busy: AtomicUsize::new(0),
    };
    let hosted = Arc::new(hosted);
    let description = hosted.describe().await?;
    if up(&description).is_ok() {
        let first_process_ended = async {
            // Nothing ever comes over it but its end.
            let _ = line.readable().await;
        };
        let changed = Arc::new(Notify::new());
        let watches = {
            let live = hosted.live.read().await;
            live.0.nodes().iter().map(|node| watch_network(node, Arc::clone(&changed))).collect::<Result<Vec<_>, _>>()
        };
        let _watches = watches.map_err(EngineError::from)?;
        tokio::select! {
            () = answer_all(&listener, &hosted) => {}
            () = heed(&changed, &hosted) => {}
            _ = interrupts.next() => {}
            () = first_process_ended => eprintln!("the first process of lab `{}` was killed", order.name),
        }
    }
    drop(claim);
    Ok(exit::OK)
}

fn watch(init: &Init) -> io::Result<UnixStream> {
    let line = init.line()?;
    line.set_nonblocking(true)?;
    UnixStream::from_std(line)
}

fn listen(order: &Order) -> io::Result<UnixListener> {
    let path = order.folder.socket(&order.name);
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn answer_all(listener: &UnixListener, hosted: &Arc<Hosted>) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                let hosted = Arc::clone(hosted);
                tokio::spawn(async move {
                    // Whoever asked is gone: there is nobody to tell.
                    let _ = answer(socket, &hosted).await;
                });
            }
            // No file may be opened: until one is closed there is nothing to do.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Has agents take notice of what is done to their nodes' network in a shell. Never ends.
async fn heed(changed: &Notify, hosted: &Hosted) {
    loop {
        changed.notified().await;
        tokio::time::sleep(BATCH).await;
        let mut live = hosted.live.write().await;
        if let Err(error) = live.0.notice().await {
            eprintln!("the agents could not take notice of a change: {error}");
        }
    }
}

/// The lab and all that is asked about.
struct Hosted {
    identity: Identity,
    engine: Arc<dyn Engine>,
    /// The case it began with.
    case: Case,
    user: Option<OwnedFd>,
    init: Init,
    /// With the steps taken since it is up.
    live: RwLock<(Box<dyn Live>, Vec<Step>)>,
    /// How many requests take steps or wait to.
    busy: AtomicUsize,
}

async fn answer(socket: UnixStream, hosted: &Hosted) -> io::Result<()> {
    // Inside a user namespace of one user, who is somebody else has no number of ours.
    if socket.peer_cred()?.uid() != geteuid().as_raw() {
        return Ok(());
    }
    let mut listener = Listener::new(socket);
    let hello = tokio::time::timeout(PATIENCE, listener.hear::<Hello>()).await??;
    let Some(hello) = hello else { return Ok(()) };
    listener.say(&Hello::ours(), &[]).await?;
    if hello.protocol != PROTOCOL {
        return Ok(());
    }
    while let Some(request) = listener.hear::<Request>().await? {
        let refused = match hosted.answer(request, &mut listener).await {
            Ok(()) => continue,
            Err(Unanswered::Refused(refusal)) => refusal,
            Err(Unanswered::Gone(error)) => return Err(error),
        };
        listener.say(&Answer::Refused(refused), &[]).await?;
    }
    Ok(())
}

/// Why there is no answer.
enum Unanswered {
    /// It can't be.
    Refused(Refusal),
    /// Nobody is there to hear it.
    Gone(io::Error),
}

impl<T: Into<Refusal>> From<T> for Unanswered {
    fn from(refusal: T) -> Self {
        Self::Refused(refusal.into())
    }
}

impl Hosted {
    async fn answer(&self, request: Request, to: &mut Listener) -> Result<(), Unanswered> {
        let answer = match request {
            Request::Describe => Answer::Lab(Box::new(self.describe().await?)),
            Request::Enter { place } => return self.enter(&place, to).await,
            Request::Namespaces { places } => return self.namespaces(&places, to).await,
            Request::Trace { from, what, deadline_ms } => {
                Answer::Traced(Box::new(self.trace(&from, &what, deadline_ms.map(Duration::from_millis)).await?))
            }
            Request::Apply { text, file } => Answer::Applied(Box::new(self.apply(&text, &file).await?)),
        };
        to.say(&answer, &[]).await.map_err(Unanswered::Gone)
    }

    async fn describe(&self) -> Result<Description, Refusal> {
        if self.busy.load(Ordering::Relaxed) > 0 {
            return Ok(Description::of(&self.identity, &self.case, &[], None));
        }
        let live = self.live.read().await;
        let state = State::of(&*live.0).await?;
        Ok(Description::of(&self.identity, live.0.case(), &live.1, Some(state)))
    }

    async fn enter(&self, name: &str, to: &mut Listener) -> Result<(), Unanswered> {
        let (namespace, resolv_conf) =
            {
                let live = self.live.read().await;
                let namespace = find(&*live.0, name)?;
                let is_pod =
                    live.0.case().network.nodes.iter().any(|node| {
                        namespace.name().strip_prefix(&node.name).is_some_and(|rest| rest.starts_with('/'))
                    });
                (namespace, resolv_conf(live.0.case(), is_pod))
            };
        let mut joins = Vec::new();
        let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
        if let Some(user) = &self.user {
            joins.push(NamespaceKind::User);
            descriptors.push(user.as_fd());
        }
        joins.extend([NamespaceKind::Network, NamespaceKind::Pid, NamespaceKind::Mount]);
        descriptors.extend([namespace.as_fd(), self.init.pids.as_fd(), self.init.mounts.as_fd()]);
        let lab = self.identity.name.clone();
        let entrance = Answer::Entrance(Entrance { lab, place: place(&namespace), joins, resolv_conf });
        to.say(&entrance, &descriptors).await.map_err(Unanswered::Gone)
    }

    async fn namespaces(&self, places: &[String], to: &mut Listener) -> Result<(), Unanswered> {
        let chosen = {
            let live = self.live.read().await;
            match places {
                [] => live.0.namespaces(),
                places => places.iter().map(|name| find(&*live.0, name)).collect::<Result<_, _>>()?,
            }
        };
        let user = self.user.iter().map(|user| (NamespaceKind::User, String::new(), user.as_fd()));
        let networks =
            chosen.iter().map(|namespace| (NamespaceKind::Network, namespace.name().to_owned(), namespace.as_fd()));
        for (kind, name, descriptor) in user.chain(networks) {
            to.say(&Answer::Namespace { kind, name }, &[descriptor]).await.map_err(Unanswered::Gone)?;
        }
        to.say(&Answer::Done, &[]).await.map_err(Unanswered::Gone)
    }

    async fn trace(&self, from: &str, what: &serde_json::Value, deadline: Option<Duration>) -> Result<Traced, Refusal> {
        let live = self.live.read().await;
        let case = live.0.case();
        let mut probe = scenario::probe(from, what, &case.network).map_err(|wrong| text(&wrong))?;
        probe.deadline = deadline;
        let (evidence, trace) = live.0.send(&probe).await?;
        Ok(Traced::of(case, &probe, &evidence, trace.as_ref()))
    }

    async fn apply(&self, written: &str, file: &str) -> Result<Applied, Refusal> {
        let _busy = Busy::begin(&self.busy);
        let mut live = self.live.write().await;
        let (live, taken) = &mut *live;
        let before: Vec<_> = live.timeline().taken().into_iter().chain(taken.iter().cloned()).collect();
        let steps = scenario::steps(written, file, live.case(), &before).map_err(|wrong| text(&wrong))?;
        if let Some((step, why)) = steps.iter().find_map(|step| Some((step, self.engine.refuses(&step.action)?))) {
            let help = format!("`{}` was not taken, nor any other", step.action);
            return Err(Refusal { fault: Fault::Host, message: why, help: Some(help) });
        }
        let dns_before = Dns::from(&live.observed().await?);
        // If one fails, the network may be another all the same.
        let known = taken.len();
        taken.extend(steps.iter().cloned());
        let timeline = live.play(&steps).await?;
        taken.truncate(known);
        taken.extend(timeline.taken());
        let results = judge_steps(live.case(), &timeline, &[], self.engine.provenance());
        let steps = schema::steps::steps(live.case(), &timeline, &results);
        Ok(Applied { steps, dns_before, state: State::of(&**live).await? })
    }
}

/// One that takes steps, as long as this lives.
struct Busy<'a>(&'a AtomicUsize);

impl<'a> Busy<'a> {
    fn begin(busy: &'a AtomicUsize) -> Self {
        busy.fetch_add(1, Ordering::Relaxed);
        Self(busy)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn text(wrong: &topology::source::Diagnostics) -> Refusal {
    Refusal { fault: Fault::Text, message: wrong.render(false), help: None }
}

/// The namespace of a place that commands can be run in.
fn find(live: &dyn Live, name: &str) -> Result<Namespace, Refusal> {
    let all = live.namespaces();
    let names: Vec<_> = all.iter().map(place).collect();
    let at = names.iter().position(|known| known == name);
    at.map(|at| all[at].clone()).ok_or_else(|| {
        let shown = topology::source::shown(name);
        let help = choices(name, "places where commands can be run", names.iter().map(String::as_str));
        Refusal::usage(format!("there is no place `{shown}`"), help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_remedy() {
        for (step, errno, word) in [
            ("mount a /proc of the lab's own processes", Errno::EPERM, "systempaths=unconfined"),
            ("mount a /proc of the lab's own processes", Errno::EACCES, "apparmor"),
            ("mount a /proc of the lab's own processes", Errno::ENOSPC, "fs.mount-max"),
            ("keep mounts to itself", Errno::EACCES, "apparmor"),
            ("make a mount namespace", Errno::ENOSPC, "user.max_mnt_namespaces"),
            ("make a mount namespace", Errno::EPERM, "seccomp"),
            ("make a pid namespace", Errno::ENOSPC, "user.max_pid_namespaces"),
            ("make a pid namespace", Errno::EPERM, "seccomp"),
            ("make a pid namespace", Errno::EINVAL, "CONFIG_PID_NS"),
            ("fork: no more processes or threads can be started", Errno::EAGAIN, "ulimit -u"),
        ] {
            let said = format!("{step}: {}", io::Error::from(errno));
            assert!(remedy(&said).is_some_and(|help| help.contains(word)), "{said}: {:?}", remedy(&said));
        }
        for said in ["", "the line ended", "make a pid namespace: Input/output error (os error 5)", "(os error x)"] {
            assert_eq!(remedy(said), None, "{said}: nothing is known to help");
        }
    }
}
