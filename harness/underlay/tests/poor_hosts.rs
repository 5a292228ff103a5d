//! Hosts that lack something: what it is and what helps is told, nothing panics, and a case that can't run isn't a pass.

mod elsewhere;

use std::io;
use std::process::{Command, ExitCode, Output};

use elsewhere::{Elsewhere, ended};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;
use underlay::exit;

const SCENARIO: &str = "scenarios/guide/table.yaml";
/// Set in a second life in which /proc/sys is read-only, as in a container. Needs root.
const READ_ONLY: &str = "UNDERLAY_TEST_READ_ONLY";

fn main() -> ExitCode {
    if std::env::var_os(READ_ONLY).is_some()
        && let Err(error) = make_sysctls_read_only()
    {
        eprintln!("a host with a read-only /proc/sys can't be had here: {error}");
        return ExitCode::from(125);
    }
    elsewhere::second_life();
    let arguments = Arguments::from_args();
    let list = arguments.list;
    let trials = vec![
        Elsewhere::NoTun.trial("without_a_tun_device", list, |elsewhere| {
            skipped(elsewhere, &["TUN devices", "/dev/net/tun: No such file or directory"], "modprobe tun")
        }),
        Elsewhere::ClosedTun.trial("with_a_tun_device_for_root_only", list, |elsewhere| {
            skipped(elsewhere, &["TUN devices", "/dev/net/tun: Permission denied"], "chmod 0666 /dev/net/tun")
        }),
        Elsewhere::NoUserNamespaces.trial("without_user_namespaces", list, |elsewhere| {
            let reason = ["network namespaces", "user.max_user_namespaces"];
            skipped(elsewhere, &reason, "sysctl user.max_user_namespaces=")
        }),
        read_only_sysctls(list),
        // Too few for the runtime; for the first namespace; for one machine; for a lab; for its cluster.
        Elsewhere::Files(9).trial("with_9_files", list, short_of_files),
        Elsewhere::Files(12).trial("with_12_files", list, short_of_files),
        Elsewhere::Files(24).trial("with_24_files", list, short_of_files),
        Elsewhere::Files(40).trial("with_40_files", list, short_of_files),
        Elsewhere::Files(64).trial("with_64_files", list, short_of_files),
        // Too few for the process that clears up behind a run, and for the runtime's threads.
        Elsewhere::Threads(1).trial("with_1_thread", list, short_of_threads),
        Elsewhere::Threads(8).trial("with_8_threads", list, short_of_threads),
        Elsewhere::Threads(24).trial("with_24_threads", list, short_of_threads),
        // Too little for what labs take.
        Elsewhere::Memory(96).trial("with_96_mib", list, short_of_memory),
        Elsewhere::Memory(400).trial("with_400_mib", list, short_of_memory),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn calm(output: &Output) -> Result<(), Failed> {
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("panicked") { Err(format!("it panicked:\n{said}").into()) } else { Ok(()) }
}

/// All that was said, wherever lines were broken.
fn in_one_line(output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).join(" ");
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Seen by this process and those that it becomes alone.
fn make_sysctls_read_only() -> io::Result<()> {
    let mounted = |from: Option<&str>, to: &str, flags| mount(from, to, None::<&str>, flags, None::<&str>);
    unshare(CloneFlags::CLONE_NEWNS)?;
    mounted(None, "/", MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    mounted(Some("/proc/sys"), "/proc/sys", MsFlags::MS_BIND | MsFlags::MS_REC)?;
    let kept = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mounted(None, "/proc/sys", MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | kept)?)
}

fn read_only_sysctls(list: bool) -> Trial {
    let command = |arguments: &[&str]| -> io::Result<Command> {
        let mut command = Elsewhere::Same.command(arguments)?;
        command.env(READ_ONLY, "1");
        Ok(command)
    };
    let name = "with_read_only_sysctls";
    let barred = match command(&["--version"]).and_then(|mut command| command.output()) {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    };
    if let (Some(reason), false) = (&barred, list) {
        eprintln!("{name} is ignored: {reason}");
    }
    let test = move || {
        // EROFS.
        let reason = ["network namespaces", "set sysctl net/", "os error 30"];
        skips(|arguments| command(arguments)?.output(), &reason, "systempaths=unconfined")
    };
    Trial::test(name, test).with_ignored_flag(barred.is_some())
}

/// All cases are skipped, with a reason that has these words and a remedy that has those.
fn skipped(elsewhere: Elsewhere, reason: &[&str], remedy: &str) -> Result<(), Failed> {
    skips(|arguments| elsewhere.underlay(arguments), reason, remedy)
}

fn skips(underlay: impl Fn(&[&str]) -> io::Result<Output>, reason: &[&str], remedy: &str) -> Result<(), Failed> {
    let output = underlay(&["test", SCENARIO, "--format", "json"])?;
    calm(&output)?;
    ended(&output, exit::HOST, "nothing asserted can run here")?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let cases = report["cases"].as_array().filter(|cases| !cases.is_empty()).ok_or("a report has cases")?;
    for case in cases {
        let missing = case["missing"].to_string();
        if case["verdict"] != "skip" || reason.iter().any(|word| !missing.contains(word)) || !missing.contains(remedy) {
            return Err(format!("a skip should tell {reason:?} and the remedy {remedy:?}, got {case:#}").into());
        }
    }
    let people = underlay(&["test", SCENARIO, "--color", "never"])?;
    let said = in_one_line(&people);
    match reason.iter().chain([&remedy]).find(|word| !said.contains(**word)) {
        Some(word) => Err(format!("people should be told {word:?} too:\n{said}").into()),
        None => Ok(()),
    }
}

/// The limit is the user's to raise, and cases that met it may not be taken for anything but errors.
fn short(elsewhere: Elsewhere, why: &str, told: &[&str]) -> Result<(), Failed> {
    let output = elsewhere.underlay(&["test", SCENARIO, "--jobs", "1", "--color", "never"])?;
    calm(&output)?;
    ended(&output, exit::HARNESS, why)?;
    let said = in_one_line(&output);
    match told.iter().find(|word| !said.contains(**word)) {
        Some(word) => Err(format!("the limit and what raises it should be told, {word:?} is not:\n{said}").into()),
        None => Ok(()),
    }
}

fn short_of_files(elsewhere: Elsewhere) -> Result<(), Failed> {
    short(elsewhere, "a lab takes more files", &["RLIMIT_NOFILE", "ulimit -n"])
}

fn short_of_threads(elsewhere: Elsewhere) -> Result<(), Failed> {
    short(elsewhere, "the program takes more threads", &["RLIMIT_NPROC", "ulimit -u"])
}

fn short_of_memory(elsewhere: Elsewhere) -> Result<(), Failed> {
    short(elsewhere, "labs take more memory", &["RLIMIT_AS", "ulimit -v"])
}
