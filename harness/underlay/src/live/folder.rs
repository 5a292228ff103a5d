//! Where a user's labs are found: a folder of sockets that nobody else can look into.
//!
//! A lab that is up has a lock, which the kernel takes away with its supervisor, however that ends. What is there
//! without being locked is what a killed supervisor left behind, and goes when somebody looks.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::{Pid, geteuid};

use super::name::Name;
use super::refusal::Refusal;
use super::whereabouts::numbering;

/// Held while labs come and go, so that nobody takes one that begins for one that was killed.
const DOOR: &str = ".door";
const LOCK: &str = "lock";
const SOCKET: &str = "sock";
const LOG: &str = "log";

/// A user's labs.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

/// A lab's place in the folder, as long as this lives.
#[derive(Debug)]
pub struct Claim {
    folder: Folder,
    name: Name,
    _lock: File,
}

/// A lab that is up or comes up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// Its supervisor, by the number it has here; none where it is in a pid namespace that can't be seen from here.
    pub supervisor: Option<Pid>,
}

impl Entry {
    /// Its supervisor, for messages.
    pub fn process(&self) -> String {
        match self.supervisor {
            Some(pid) => format!("process {pid}"),
            None => "a process that can't be seen from here".to_owned(),
        }
    }

    /// What ends it where its supervisor heeds nobody.
    pub fn last_resort(&self) -> String {
        match self.supervisor {
            Some(pid) => format!("kill -9 {pid} takes it down"),
            None => {
                "kill -9 takes it down where its supervisor can be seen: in the container it was brought up in, or on \
                 the host"
                    .to_owned()
            }
        }
    }
}

impl Folder {
    /// This user's: `$XDG_RUNTIME_DIR/underlay`, where that variable names a folder of the user's own, or else
    /// `/run/underlay-UID`, or, where nothing can be made in /run, `/tmp/underlay-UID`. It is made if it isn't there.
    ///
    /// # Errors
    /// It can't be made, or others could get at what is in it.
    pub fn of_user() -> Result<Self, Refusal> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        Self::among(runtime.as_deref(), Path::new("/run"), Path::new("/tmp"))
    }

    fn among(runtime: Option<&Path>, run: &Path, tmp: &Path) -> Result<Self, Refusal> {
        // Others are to be ignored (XDG Base Directory Specification). Root keeps another user's in `su` and `sudo -E`:
        // that user could put a link in place of what root makes there.
        if let Some(runtime) = runtime.filter(|path| path.is_absolute() && is_own(path)) {
            return Self::at(runtime.join("underlay"));
        }
        let own = format!("underlay-{}", geteuid());
        match Self::make(&run.join(&own)) {
            Err(error) if is_closed(error.kind()) => Self::at(tmp.join(own)),
            _ => Self::at(run.join(own)),
        }
    }

    /// That folder.
    ///
    /// # Errors
    /// It can't be made, or others could get at what is in it.
    pub fn at(path: PathBuf) -> Result<Self, Refusal> {
        let wrong = |what: String| {
            let help = "XDG_RUNTIME_DIR names a folder of yours alone, as /run/user/UID is; or unset it";
            Refusal::usage(format!("{}: {what}", path.display()), help)
        };
        Self::make(&path).map_err(|error| wrong(error.to_string()))?;
        let found = fs::symlink_metadata(&path).map_err(|error| wrong(error.to_string()))?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(wrong("labs' sockets can't be kept there: it isn't a folder that is yours alone".to_owned()));
        }
        Ok(Self(path))
    }

    fn make(path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Its path: where something can be mounted that only the one who mounts it sees.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A lab's socket.
    pub fn socket(&self, name: &Name) -> PathBuf {
        self.file(name, SOCKET)
    }

    /// What a supervisor in the background has to say.
    pub fn log(&self, name: &Name) -> PathBuf {
        self.file(name, LOG)
    }

    /// Opens that, as a new file.
    ///
    /// # Errors
    /// The kernel's answer; it is a link.
    pub fn open_log(&self, name: &Name) -> io::Result<File> {
        options().write(true).create(true).truncate(true).open(self.log(name))
    }

    fn file(&self, name: &Name, kind: &str) -> PathBuf {
        self.0.join(format!("{name}.{kind}"))
    }

    fn door(&self) -> io::Result<File> {
        let door = open(&self.0.join(DOOR))?;
        door.lock()?;
        Ok(door)
    }

    /// Every lab that is up or comes up, by name. What killed ones left behind is taken away.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn labs(&self) -> Result<Vec<Entry>, Refusal> {
        let look = || -> io::Result<Vec<(Name, Holder)>> {
            let _door = self.door()?;
            let mut held = Vec::new();
            for entry in fs::read_dir(&self.0)? {
                let path = entry?.path();
                if path.extension().is_none_or(|kind| kind != LOCK) {
                    continue;
                }
                let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<Name>().ok());
                let Some(name) = name else { continue };
                match locked(&path)? {
                    Some(holder) => held.push((name, holder)),
                    None => self.remove(&name),
                }
            }
            Ok(held)
        };
        let failed = |error: io::Error| Refusal::harness(&format!("look for labs in {}", self.0.display()), &error);
        let held = look().map_err(failed)?;
        let here = numbering().ok();
        // The door is open again: who is asked here may take its time.
        let entry = |(name, holder): (Name, Holder)| {
            let is_here = here.as_ref().is_some_and(|here| *here == holder.numbering);
            let supervisor = if is_here { Some(holder.pid) } else { self.listening(&name) };
            Entry { name, supervisor }
        };
        let mut labs: Vec<_> = held.into_iter().map(entry).collect();
        labs.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(labs)
    }

    /// Who listens at a lab's socket, by the number that the kernel gives it here; none where it has none here, or nobody
    /// listens yet.
    fn listening(&self, name: &Name) -> Option<Pid> {
        let line = UnixStream::connect(self.socket(name)).ok()?;
        let peer = getsockopt(&line, sockopt::PeerCredentials).ok()?;
        (peer.pid() > 0).then(|| Pid::from_raw(peer.pid()))
    }

    /// Takes a lab's place, for this process.
    ///
    /// # Errors
    /// Another lab has that name.
    pub fn claim(&self, name: &Name) -> Result<Claim, Refusal> {
        let failed = |error: io::Error| Refusal::harness(&format!("make {}", self.socket(name).display()), &error);
        let _door = self.door().map_err(failed)?;
        let mut lock = open(&self.file(name, LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(self.taken(name)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        self.remove_socket(name);
        let mut write = || {
            lock.set_len(0)?;
            // Where that is unknown, nobody takes the number for one of theirs.
            write!(lock, "{}\n{}\n", std::process::id(), numbering().unwrap_or_default())
        };
        write().map_err(failed)?;
        Ok(Claim { folder: self.clone(), name: name.clone(), _lock: lock })
    }

    /// What to say where a lab has the name already.
    pub fn taken(&self, name: &Name) -> Refusal {
        let help = format!("`underlay down {name}` takes it down; `--name` calls this one otherwise");
        Refusal::usage(format!("a lab called `{name}` is up already"), help)
    }

    fn remove_socket(&self, name: &Name) {
        // It may never have got that far.
        let _ = fs::remove_file(self.socket(name));
    }

    fn remove(&self, name: &Name) {
        self.remove_socket(name);
        // What a supervisor had to say before its end is worth reading.
        if fs::metadata(self.log(name)).is_ok_and(|log| log.len() == 0) {
            let _ = fs::remove_file(self.log(name));
        }
        let _ = fs::remove_file(self.file(name, LOCK));
    }

    /// Waits until a lab is no more.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn wait(&self, name: &Name) -> io::Result<()> {
        match options().read(true).open(self.file(name, LOCK)) {
            Ok(lock) => lock.lock_shared(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let _door = self.folder.door();
        self.folder.remove(&self.name);
    }
}

/// Who holds a lab's lock.
struct Holder {
    /// Its number.
    pid: Pid,
    /// Where it has that number: as [`numbering`] said there.
    numbering: String,
}

/// Who holds a lab's lock, if somebody does.
fn locked(path: &Path) -> io::Result<Option<Holder>> {
    let mut lock = open(path)?;
    match lock.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            lock.read_to_string(&mut text)?;
            let mut lines = text.lines();
            // 0 and those below are no process, and signals to them reach many.
            let pid = lines.next().and_then(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0);
            let pid = pid.ok_or_else(|| io::Error::other(format!("{} is damaged", path.display())))?;
            let numbering = lines.next().unwrap_or_default().to_owned();
            Ok(Some(Holder { pid: Pid::from_raw(pid), numbering }))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path) -> io::Result<File> {
    options().read(true).write(true).create(true).truncate(false).open(path)
}

/// A file in a folder is the user's alone, and never elsewhere by way of a link.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(OFlag::O_NOFOLLOW.bits());
    options
}

/// Whether a folder is the user's, and nobody else can put anything in place of what the user makes there.
fn is_own(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| {
        let (for_all, sticky) = (found.mode() & 0o002 != 0, found.mode() & 0o1000 != 0);
        found.is_dir() && found.uid() == geteuid().as_raw() && (!for_all || sticky)
    })
}

/// Whether nothing can be made somewhere, for this user or for all.
fn is_closed(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let outer = tempfile::tempdir().expect("a folder for temporary files");
        let folder = Folder::at(outer.path().join("underlay")).expect("it is ours");
        (outer, folder)
    }

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    #[test]
    fn a_name_is_taken_once() {
        let (_outer, folder) = folder();
        let claim = folder.claim(&name("a")).expect("nobody has it");
        assert!(folder.claim(&name("a")).is_err_and(|refusal| refusal.message.contains("up already")));
        assert!(folder.claim(&name("b")).is_ok());
        let pid = Pid::this();
        assert_eq!(folder.labs(), Ok(vec![Entry { name: name("a"), supervisor: Some(pid) }]));
        drop(claim);
        assert_eq!(folder.labs(), Ok(Vec::new()));
        assert!(folder.claim(&name("a")).is_ok());
    }

    #[test]
    fn a_number_from_elsewhere_means_nobody_here() {
        use std::os::unix::net::UnixListener;
        let (_outer, folder) = folder();
        let place = name("a");
        // As a supervisor in a container writes it, the first process there; and one that says nothing of where it is.
        for said in ["1\n0-0-0-0 pid:[1]\n", "1"] {
            let lock = open(&folder.file(&place, LOCK)).expect("it can be made");
            lock.lock().expect("nobody has it");
            fs::write(folder.file(&place, LOCK), said).expect("it can be written");
            let found = |supervisor| Ok(vec![Entry { name: place.clone(), supervisor }]);
            assert_eq!(folder.labs(), found(None), "nobody listens who could be asked");
            let listener = UnixListener::bind(folder.socket(&place)).expect("it can be made");
            assert_eq!(folder.labs(), found(Some(Pid::this())), "the kernel knows who listens");
            drop((listener, lock));
            assert_eq!(folder.labs(), Ok(Vec::new()));
        }
        // Every process of the group, of the user.
        for said in ["0", "-1", ""] {
            let lock = open(&folder.file(&place, LOCK)).expect("it can be made");
            lock.lock().expect("nobody has it");
            fs::write(folder.file(&place, LOCK), said).expect("it can be written");
            assert!(folder.labs().is_err_and(|refusal| refusal.message.contains("is damaged")), "{said:?}");
        }
    }

    #[test]
    fn what_was_left_behind_goes() {
        let (_outer, folder) = folder();
        for kind in [LOCK, SOCKET, LOG] {
            fs::write(folder.file(&name("dead"), kind), "").expect("it can be written");
        }
        fs::write(folder.file(&name("told"), LOCK), "1").expect("it can be written");
        fs::write(folder.log(&name("told")), "panicked").expect("it can be written");
        assert_eq!(folder.labs(), Ok(Vec::new()));
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .expect("it is there")
            .map(|entry| entry.expect("it is there").file_name().into_string().expect("UTF-8"))
            .collect();
        left.sort();
        assert_eq!(left, [DOOR, "told.log"], "only what somebody wants to read stays");
    }

    #[test]
    fn a_folder_for_all_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let outer = tempfile::tempdir().expect("a folder for temporary files");
        let path = outer.path().join("underlay");
        fs::create_dir(&path).expect("it can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is ours");
        assert!(Folder::at(path).is_err(), "others could find sockets there");
        let link = outer.path().join("link");
        std::os::unix::fs::symlink("/", &link).expect("it can be made");
        assert!(Folder::at(link).is_err(), "a link leads elsewhere");
    }

    /// Where the user's folder is, in a host whose /run and /tmp are these.
    fn place(runtime: &Path, run: &Path, tmp: &Path) -> PathBuf {
        Folder::among(Some(runtime), run, tmp).expect("it can be made").path().to_owned()
    }

    #[test]
    fn only_the_users_own_runtime_folder_is_used() {
        use std::os::unix::fs::{PermissionsExt, chown};
        let outer = tempfile::tempdir().expect("a folder for temporary files");
        let [runtime, run, tmp] = ["runtime", "run", "tmp"].map(|name| outer.path().join(name));
        for folder in [&runtime, &run, &tmp] {
            DirBuilder::new().mode(0o700).create(folder).expect("it can be made");
        }
        let own = format!("underlay-{}", geteuid());
        assert_eq!(place(&runtime, &run, &tmp), runtime.join("underlay"));

        let link = outer.path().join("link");
        std::os::unix::fs::symlink(&runtime, &link).expect("it can be made");
        let missing = outer.path().join("missing");
        for other in [link.as_path(), missing.as_path(), Path::new("runtime")] {
            assert_eq!(place(other, &run, &tmp), run.join(&own), "{} is nobody's folder", other.display());
        }
        assert_eq!(place(&missing, &missing, &tmp), tmp.join(&own), "there is no /run");

        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o777)).expect("it is ours");
        assert_eq!(place(&runtime, &run, &tmp), run.join(&own), "anybody could swap what is in it");
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).expect("it is ours");

        fs::remove_dir(runtime.join("underlay")).expect("it is empty");
        // The number of `nobody`.
        if let Err(error) = chown(&runtime, Some(65534), None) {
            // Not by a macro: those are heard of failed tests alone.
            let _ = writeln!(io::stderr(), "skipped: another user's folder can't be had: {error}");
            return;
        }
        assert_eq!(place(&runtime, &run, &tmp), run.join(&own), "it is somebody else's");
        assert!(!runtime.join("underlay").exists(), "nothing is made in it");
    }

    #[test]
    fn links_are_not_followed() {
        let (outer, folder) = folder();
        let target = outer.path().join("target");
        fs::write(&target, "precious").expect("it can be written");
        for kind in [LOCK, LOG] {
            std::os::unix::fs::symlink(&target, folder.file(&name("a"), kind)).expect("it can be made");
        }
        assert!(folder.claim(&name("a")).is_err(), "its lock is elsewhere");
        assert!(folder.labs().is_err(), "its lock is elsewhere");
        assert!(folder.wait(&name("a")).is_err(), "its lock is elsewhere");
        assert!(folder.open_log(&name("a")).is_err(), "its log is elsewhere");
        fs::remove_file(folder.file(&name("a"), LOCK)).expect("it is there");
        let _ = fs::remove_file(folder.path().join(DOOR));
        std::os::unix::fs::symlink(&target, folder.path().join(DOOR)).expect("it can be made");
        assert!(folder.labs().is_err(), "the door is elsewhere");
        assert_eq!(fs::read_to_string(&target).expect("it is there"), "precious");
    }
}
