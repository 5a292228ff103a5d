//! Labs one can live in, by the commands that a user has: as this user, and as an ordinary one.

mod elsewhere;
mod upkeep;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use elsewhere::{Elsewhere, ended};
use libtest_mimic::{Arguments, Failed, Trial};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pcap_file::pcapng::{Block, PcapNgReader};
use serde_json::Value;
use underlay::exit;
use underlay::live::whereabouts::numbering;
use upkeep::{Folder, SCENARIO, refused};

fn main() -> ExitCode {
    elsewhere::second_life();
    let arguments = Arguments::from_args();
    let cannot = Elsewhere::Same.underlay(&["doctor"]).map_or(true, |doctor| !doctor.status.success());
    let here = |name: &str, test: fn(&Folder) -> Result<(), Failed>| {
        Trial::test(name, move || test(&Folder::new(Elsewhere::Same)?)).with_ignored_flag(cannot)
    };
    let mut trials = vec![
        here("from_up_to_down", from_up_to_down),
        here("codes_and_signals_pass_through", codes_and_signals),
        here("steps_change_what_packets_do", steps),
        here("steps_are_taken_whatever_came_before", past),
        here("what_is_waited_for_in_vain_is_told", in_vain),
        here("packets_are_captured_as_they_pass", capture),
        here("a_shell_has_a_prompt_and_a_terminal", shell),
        here("several_are_told_apart", several),
        here("names_of_labs_and_places_are_held_to_rules", hostile_names),
        here("another_version_is_told", another_version),
        here("a_host_where_no_agent_lives_is_up_all_the_same", dead_agents),
        here("one_in_the_background_keeps_nothing_open", inherited),
        here("ctrl_c_ends_one_in_the_foreground", foreground),
    ];
    let no_ip = Command::new("ip").arg("-V").output().is_err();
    trials.push(here("agents_notice_what_is_done_in_a_shell", noticed).with_ignored_flag(cannot || no_ip));
    let no_pids = !succeeds(&mut apart_from_here(&["--pid"], "exec true"));
    trials.push(here("down_ends_no_stranger", stranger).with_ignored_flag(cannot || no_pids));
    let no_limit = !succeeds(&mut apart_from_here(&[], NO_PIDS));
    trials.push(here("a_limit_of_pid_namespaces_is_told", limited).with_ignored_flag(cannot || no_limit));
    for (name, test) in [
        ("an_ordinary_user_goes_from_up_to_down", from_up_to_down as fn(&Folder) -> Result<(), Failed>),
        ("an_ordinary_user_captures", capture),
    ] {
        let folder = move |elsewhere| test(&Folder::new(elsewhere)?);
        trials.push(Elsewhere::Ordinary.trial(name, arguments.list, folder));
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Asks a pod on another node who it is that asks.
const WHO: &str = "exec 3<>/dev/tcp/10.244.1.10/7; read -r answer <&3; echo \"${answer%:*}\"";

fn from_up_to_down(folder: &Folder) -> Result<(), Failed> {
    let told = folder.ask(&["up", "--detach", SCENARIO])?;
    let hints = ["table-tailscale0 is up", "underlay shell master/pod", "underlay down table-tailscale0"];
    if let Some(missing) = hints.iter().find(|hint| !told.contains(**hint)) {
        return Err(format!("it should say what comes next, `{missing}` too:\n{told}").into());
    }
    let labs = folder.labs()?;
    let lab = labs.first().ok_or("it is up")?;
    for (key, value) in [("name", "table-tailscale0"), ("scenario", "guide/table"), ("engine", "netns")] {
        if lab[key] != value {
            return Err(format!("{key} should be {value}: {lab:#}").into());
        }
    }
    let places: Vec<_> = lab["state"]["places"].as_array().ok_or("there are places")?.iter().collect();
    let pod = places.iter().find(|place| place["name"] == "master/pod").ok_or("there is a pod")?;
    if pod["addresses"]["eth0"][0] != "10.244.0.10" {
        return Err(format!("the pod has the address its kernel shows: {pod}").into());
    }

    if folder.ask(&["exec", "master/pod", "--", "bash", "-c", WHO])? != "10.244.0.10\n" {
        return Err("a pod talks to a pod on another node".into());
    }
    let resolver = folder.ask(&["exec", "master/pod", "--", "cat", "/etc/resolv.conf"])?;
    if !resolver.contains("nameserver 10.96.0.10\n") {
        return Err(format!("a pod asks cluster DNS, not:\n{resolver}").into());
    }
    let own = folder.ask(&["exec", "master", "--", "cat", "/etc/resolv.conf"])?;
    if own != "nameserver 8.8.8.8\n" {
        return Err(format!("a node asks the lab's internet, not:\n{own}").into());
    }
    // All that /proc shows is the lab's: its first process, and what was asked for.
    let processes = folder.ask(&["exec", "master", "--", "sh", "-c", "echo $$; ls /proc | grep -c '^[0-9]'"])?;
    if processes.lines().nth(1).and_then(|count| count.parse().ok()).is_none_or(|count: u32| count > 5) {
        return Err(format!("the host's processes show:\n{processes}").into());
    }

    let sent = folder.run(&["trace", "@", "master/pod", "worker/pod", "--format", "json"])?;
    ended(&sent, exit::OK, "the mesh is up")?;
    let sent: Value = serde_json::from_slice(&sent.stdout)?;
    if sent["outcome"] != "works" || sent["walk"]["hops"].as_array().is_none_or(Vec::is_empty) {
        return Err(format!("it should have a way that works: {sent:#}").into());
    }

    folder.ask(&["down"])?;
    if !folder.labs()?.is_empty() {
        return Err("it should be down".into());
    }
    folder.is_empty()
}

/// How long agents may take to notice, on a busy machine.
const NOTICE: Duration = Duration::from_secs(20);

fn noticed(folder: &Folder) -> Result<(), Failed> {
    folder.ask(&["up", "--detach", "--name", "noticed", "scenarios/devices/node-ip-overlay.yaml::unset"])?;
    for (state, devices) in [("down", &["enp0s6"][..]), ("up", &["enp0s6", "tailscale0"])] {
        folder.ask(&["exec", "master", "--", "ip", "link", "set", "tailscale0", state])?;
        let began = Instant::now();
        loop {
            let labs = folder.labs()?;
            let is = &labs.first().ok_or("it is up")?["state"]["nodes"]["master"]["devices"];
            if *is == serde_json::json!(devices) {
                break;
            }
            if began.elapsed() > NOTICE {
                return Err(format!("with tailscale0 {state} the agent should have {devices:?}, not {is}").into());
            }
        }
    }
    folder.ask(&["down"]).map(drop)
}

fn codes_and_signals(folder: &Folder) -> Result<(), Failed> {
    folder.up("codes")?;
    let cases: [(&[&str], u8); 5] = [
        (&["sh", "-c", "exit 7"], 7),
        (&["no-such-command"], 127),
        (&["/etc/passwd"], 126),
        (&["sh", "-c", "kill -9 $$"], 137),
        // Inside, the lab itself is at hand too: here the command is in another place of it.
        (&["sh", "-c", "test $UNDERLAY_PLACE = master"], 0),
    ];
    for (command, code) in cases {
        let output = folder.run(&[&["exec", "master", "--"], command].concat())?;
        ended(&output, code, &format!("`{}` ends so anywhere", command.join(" ")))?;
    }
    let output = folder.told(&["exec", "master/pod", "--", "cat"], "through\n")?;
    if output.stdout != b"through\n" {
        return Err(format!("streams are the command's own: {output:?}").into());
    }
    // A signal that only this program gets is meant for the command.
    let waits = "trap 'exit 9' TERM; echo ready; sleep 1000 & wait";
    for (signal, code) in [(Signal::SIGTERM, 9), (Signal::SIGINT, 130)] {
        let command = if code == 9 { waits } else { "echo ready; exec sleep 1000" };
        let mut child =
            folder.command(&["exec", "master", "--", "sh", "-c", command])?.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        let status = child.wait()?;
        if status.code() != Some(code) {
            return Err(format!("{signal} reaches the command, which then ends with {code}, not {status}").into());
        }
    }
    Ok(())
}

fn steps(folder: &Folder) -> Result<(), Failed> {
    folder.up("steps")?;
    let answers = |folder: &Folder| -> Result<bool, Failed> {
        let sent = folder.run(&["trace", "@", "master/pod", "worker/pod", "--deadline", "1s"])?;
        Ok(sent.status.code() == Some(i32::from(exit::OK)))
    };
    if !answers(folder)? {
        return Err("before any step pods talk".into());
    }
    let applied = folder.ask(&["apply", "--format", "json", "overlay-down: worker"])?;
    let applied: Value = serde_json::from_str(&applied)?;
    if applied["steps"][0]["step"] != "overlay-down worker" {
        return Err(format!("it says what was taken: {applied:#}").into());
    }
    if answers(folder)? {
        return Err("without the overlay they don't".into());
    }
    if folder.labs()?[0]["steps"] != serde_json::json!(["overlay-down worker"]) {
        return Err("ps tells of the step".into());
    }
    // As text from standard input, from a file, and as a list.
    let told = folder.told(&["apply", "-"], "- upgrade: {values: {devices: enp0s6}}\n- restart: agents\n")?;
    ended(&told, exit::OK, "values may change")?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    if !told.contains("taken: restart agents") || !told.contains("tailscale0 → enp0s6") {
        return Err(format!("it says which decisions changed:\n{told}").into());
    }
    let file = folder.path().join("../step.yaml");
    fs::write(&file, "restart: coredns\n")?;
    folder.ask(&["apply", "--file", &file.to_string_lossy()])?;

    let wrong = folder.run(&["apply", "link-down: worker/enp0s7"])?;
    refused(
        &wrong,
        exit::USAGE,
        &["`worker` has no interface `enp0s7`", "the command line:1:12", "did you mean `enp0s6`"],
    )?;
    let wrong = folder.run(&["apply", "{link-dwn: worker/enp0s6}"])?;
    refused(&wrong, exit::USAGE, &["did you mean `link-down`"])?;
    refused(&folder.run(&["apply", "["])?, exit::USAGE, &["the command line:1"])
}

fn past(folder: &Folder) -> Result<(), Failed> {
    folder.ask(&["up", "--detach", "--name", "past", "scenarios/time/upgrade.yaml::1.19-to-1.18"])?;
    folder.ask(&["apply", "upgrade: {cilium: 1.17.8, downgrade: true}"])?;
    // What Helm refuses is no past either.
    let refused_by_helm = folder.ask(&["apply", "upgrade: {cilium: 1.18.2, set: ['devices=enp0s6,tailscale0']}"])?;
    if !refused_by_helm.contains("Helm refuses") {
        return Err(format!("as it does `--set devices=enp0s6,tailscale0`:\n{refused_by_helm}").into());
    }
    let labs = folder.labs()?;
    if labs[0]["cilium"] != "1.17.8" || labs[0]["steps"].as_array().map(Vec::len) != Some(1) {
        return Err(format!("one step was taken: {:#}", labs[0]).into());
    }
    folder.ask(&["apply", "upgrade: {cilium: 1.18.2}"])?;
    folder.ask(&["apply", "restart: agents"]).map(drop)
}

fn in_vain(folder: &Folder) -> Result<(), Failed> {
    let topology = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../topologies/split-vcn.yaml");
    let text = format!(
        "topology: {}
cilium: 1.18.2
kubelet: {{node-ip: overlay}}
values: {{devices: tailscale0, routingMode: tunnel, kubeProxyReplacement: true, bpf: {{masquerade: true}}}}
probes: {{ping: {{icmp: worker/pod, from: master/pod}}}}
variants:
  vain: {{steps: [{{overlay-down: worker}}, {{wait-for: {{probe: ping, within: 100ms}}}}, {{overlay-up: worker}}]}}
  met: {{steps: [{{wait-for: {{probe: ping}}}}, {{overlay-down: worker}}]}}
",
        topology.display()
    );
    let file = folder.path().with_file_name("waits.yaml");
    fs::write(&file, text)?;
    let case = |variant: &str| format!("{}::{variant}", file.display());
    let told = "ping: works was waited for in vain for 100ms";
    refused(&folder.run(&["up", "--detach", &case("vain")])?, exit::FAILED, &[told])?;
    if !folder.labs()?.is_empty() {
        return Err("it isn't up".into());
    }
    let trace = |variant: &str| folder.run(&["trace", &case(variant), "master/pod", "worker/pod", "--deadline", "1s"]);
    let sent = trace("vain")?;
    ended(&sent, exit::FAILED, "it was waited for in vain")?;
    let said = String::from_utf8_lossy(&sent.stdout);
    if !said.contains("not sent:") || !said.contains(told) {
        return Err(format!("it says why nothing was sent:\n{said}").into());
    }
    // The scenario's own probe is known to the step, so that the one behind it is taken.
    let sent = trace("met")?;
    ended(&sent, exit::FAILED, "without the overlay pods don't talk")?;
    let said = String::from_utf8_lossy(&sent.stdout);
    if said.contains("not sent:") { Err(format!("it was sent:\n{said}").into()) } else { Ok(()) }
}

fn capture(folder: &Folder) -> Result<(), Failed> {
    folder.up("capture")?;
    let mut command = folder.command(&["capture", "--write", "-", "--count", "14"])?;
    let mut capture = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut told = BufReader::new(capture.stderr.take().expect("it is piped"));
    let mut line = String::new();
    told.read_line(&mut line)?;
    if !line.starts_with("capturing in ") {
        return Err(format!("it says when it has begun, not: {line}").into());
    }
    let mut out = capture.stdout.take().expect("it is piped");
    let reading = thread::spawn(move || {
        let mut bytes = Vec::new();
        out.read_to_end(&mut bytes).map(|_| bytes)
    });
    folder.ask(&["trace", "@", "master/pod", "worker/pod"])?;
    let status = capture.wait()?;
    let bytes = reading.join().map_err(|_| "reading panicked")??;
    if status.code() != Some(0) {
        return Err(format!("it ends well after so many packets: {status}").into());
    }
    let mut reader = PcapNgReader::new(bytes.as_slice())?;
    let (mut interfaces, mut times) = (Vec::new(), Vec::new());
    while let Some(block) = reader.next_block() {
        match block? {
            Block::InterfaceDescription(interface) => interfaces.push(format!("{:?}", interface.options)),
            Block::EnhancedPacket(packet) => times.push(packet.timestamp),
            _ => {}
        }
    }
    if times.len() != 14 || !times.is_sorted() {
        return Err(format!("14 packets in the order in which they passed, not {times:?}").into());
    }
    for name in ["master/pod/eth0", "master/enp0s6"] {
        if !interfaces.iter().any(|interface| interface.contains(&format!("\"{name}\""))) {
            return Err(format!("{name} saw the ping: {interfaces:?}").into());
        }
    }

    // It ends in good order by a signal, and with the lab.
    for end in ["signal", "down"] {
        let file = folder.path().join("..").join(end);
        let mut command = folder.command(&["capture", "internet", "--write", "-"])?;
        let mut capture = command.stdout(File::create(&file)?).stderr(Stdio::piped()).spawn()?;
        BufReader::new(capture.stderr.take().expect("it is piped")).read_line(&mut line)?;
        match end {
            "signal" => kill(Pid::from_raw(capture.id().cast_signed()), Signal::SIGINT)?,
            _ => folder.ask(&["down"]).map(drop)?,
        }
        let status = capture.wait()?;
        if status.code() != Some(0) {
            return Err(format!("it ends well by {end}: {status}").into());
        }
        PcapNgReader::new(File::open(&file)?)?;
    }
    Ok(())
}

fn shell(folder: &Folder) -> Result<(), Failed> {
    folder.up("demo")?;
    let told =
        folder.told(&["shell", "master/pod", "--shell", "/bin/sh"], "echo $UNDERLAY_LAB:$UNDERLAY_PLACE; exit 5\n")?;
    ended(&told, 5, "the shell was left with it")?;
    if told.stdout != b"demo:master/pod\n" {
        return Err(format!("it knows where it is: {told:?}").into());
    }
    if !Path::new("/usr/bin/script").exists() || !Path::new("/bin/bash").exists() {
        return Ok(());
    }
    // `script` gives it a terminal.
    let underlay = folder.command(&["shell", "worker"])?;
    let line = std::iter::once(underlay.get_program()).chain(underlay.get_args());
    let line: Vec<_> = line.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("/usr/bin/script");
    script.args(["-qec", &line.join(" "), "/dev/null"]).envs(underlay.get_envs().filter_map(|(k, v)| Some((k, v?))));
    script.current_dir(underlay.get_current_dir().ok_or("it has a folder")?).env("HOME", folder.path());
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = script.stdin.take().expect("it is piped");
    stdin.write_all(b"sleep 0.1 & wait; set -o | grep monitor; echo $((40 + 2)); exit 3\n")?;
    let output = script.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    if output.status.code() != Some(3) || !text.contains("[demo:worker]") || !text.contains("42") {
        return Err(format!("a prompt that names lab and place, and its code: {}\n{text}", output.status).into());
    }
    if text.contains("no job control") {
        return Err(format!("jobs work in it:\n{text}").into());
    }
    Ok(())
}

fn several(folder: &Folder) -> Result<(), Failed> {
    let nothing = ["no lab is up", "underlay up SCENARIO"];
    refused(&folder.run(&["exec", "master", "--", "true"])?, exit::USAGE, &nothing)?;
    refused(&folder.run(&["down"])?, exit::USAGE, &nothing)?;
    folder.up("one")?;
    refused(
        &folder.run(&["up", "--detach", "--name", "one", SCENARIO])?,
        exit::USAGE,
        &["`one` is up already", "--name"],
    )?;
    folder.up("two")?;
    refused(&folder.run(&["exec", "master", "--", "true"])?, exit::USAGE, &["2 labs are up", "name one: one, two"])?;
    refused(&folder.run(&["down", "tow"])?, exit::USAGE, &["no lab called `tow`", "did you mean `two`"])?;
    // They have the same addresses and don't meet: only in one of them the overlay is down.
    folder.ask(&["apply", "--lab", "one", "overlay-down: worker"])?;
    ended(&folder.run(&["trace", "@two", "master/pod", "worker/pod"])?, exit::OK, "nothing happened to this one")?;
    let own = folder.ask(&["exec", "--lab", "two", "master", "--", "sh", "-c", "echo $UNDERLAY_LAB"])?;
    if own != "two\n" {
        return Err(format!("it was asked for in `two`, not {own}").into());
    }
    folder.ask(&["down", "one"])?;
    ended(&folder.run(&["exec", "master", "--", "true"])?, exit::OK, "only one is left")?;
    folder.ask(&["down", "--all"])?;
    folder.ask(&["down", "--all"])?;
    folder.is_empty()
}

fn hostile_names(folder: &Folder) -> Result<(), Failed> {
    for name in ["../x", "a b", "-x", "A", "x\n", "$(reboot)", &"x".repeat(41), ""] {
        let output = folder.run(&["up", "--detach", &format!("--name={name}"), SCENARIO])?;
        refused(&output, exit::USAGE, &["--name"])?;
    }
    folder.up("names")?;
    for place in ["mastr", "master/../worker", "master/pod; reboot", "", "/", "vcn a", "8.8.8.8", "kubernetes"] {
        let output = folder.run(&["exec", place, "--", "true"])?;
        refused(&output, exit::USAGE, &["there is no place"])?;
        refused(&folder.run(&["capture", place, "--write", "-"])?, exit::USAGE, &["there is no place"])?;
    }
    // Whatever talks to the socket: the lab goes on.
    for nonsense in
        ["\n", "{}\n", "[[[[[[\n", "{\"said\":{\"protocol\":1,\"underlay\":\"0\"}}\n{\"said\":\"reboot\"}\n", "\0"]
    {
        let mut socket = std::os::unix::net::UnixStream::connect(folder.path().join("names.sock"))?;
        socket.write_all(nonsense.as_bytes())?;
        socket.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
    }
    ended(&folder.run(&["exec", "master", "--", "true"])?, exit::OK, "the lab is still there")
}

/// A supervisor of a version that isn't ours, played by this test.
fn another_version(folder: &Folder) -> Result<(), Failed> {
    folder.labs()?;
    let lock = File::create(folder.path().join("old.lock"))?;
    lock.lock()?;
    write!(&lock, "{}\n{}\n", std::process::id(), numbering()?)?;
    refused(&folder.run(&["exec", "master", "--", "true"])?, exit::USAGE, &["`old` is coming up or going down"])?;
    let listener = UnixListener::bind(folder.path().join("old.sock"))?;
    let asked = thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                let Ok((mut socket, _)) = listener.accept() else { return };
                let hello = "{\"said\":{\"protocol\":999,\"underlay\":\"9.9.9\",\"more\":[]}}\n";
                let mut line = String::new();
                let _ = BufReader::new(&socket).read_line(&mut line);
                let _ = socket.write_all(hello.as_bytes());
            }
        });
        let asked = folder.run(&["exec", "master", "--", "true"])?;
        folder.labs().map(|labs| (asked, labs))
    });
    let (asked, labs) = asked?;
    refused(&asked, exit::USAGE, &["underlay 9.9.9 (protocol 999)", "underlay down old"])?;
    if !labs[0]["error"].as_str().is_some_and(|error| error.contains("9.9.9")) {
        return Err(format!("ps lists it with the reason: {labs:?}").into());
    }
    drop(lock);
    folder.labs()?;
    folder.is_empty()
}

/// What runs a script in a user namespace and others, where there is `unshare`. The script's arguments come after.
fn apart_from_here(namespaces: &[&str], script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--fork"]).args(namespaces).args(["sh", "-c", script, "sh"]);
    command.stdin(Stdio::null());
    command
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Gives a command to a script that runs it as its arguments.
fn with(mut script: Command, command: &Command) -> Command {
    script.arg(command.get_program()).args(command.get_args());
    script.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.get_envs().filter(|(_, value)| value.is_none()).for_each(|(name, _)| {
        script.env_remove(name);
    });
    if let Some(place) = command.get_current_dir() {
        script.current_dir(place);
    }
    script
}

/// A supervisor, played by this test, as it is seen from another pid namespace, where its number is a stranger's.
fn stranger(folder: &Folder) -> Result<(), Failed> {
    folder.labs()?;
    let path = folder.path().join("other.lock");
    let lock = File::create(&path)?;
    lock.lock()?;
    let _listener = UnixListener::bind(folder.path().join("other.sock"))?;
    let script = "sleep 1000 & echo $! > \"$LOCK\"; \"$@\"";
    let mut down = with(apart_from_here(&["--pid"], script), &folder.command(&["down", "other"])?);
    let output = down.env("LOCK", &path).output()?;
    refused(&output, exit::USAGE, &["can't be seen from here", "`underlay down other` where it was brought up"])?;
    drop(lock);
    folder.labs()?;
    folder.is_empty()
}

/// How long the end of a pipe that nobody has open may take, on a busy machine: the lab would keep it much longer.
const EOF: Duration = Duration::from_secs(20);

/// As with `3>&1 | tee`, make's jobserver, and bats.
fn inherited(folder: &Folder) -> Result<(), Failed> {
    let mut script = Command::new("sh");
    script.args(["-c", "\"$@\" 3>&1 4>&1 >/dev/null", "sh"]);
    let mut up = with(script, &folder.command(&["up", "--detach", "--name", "inherited", SCENARIO])?);
    let mut child = up.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut pipe = child.stdout.take().expect("it is piped");
    if !child.wait()?.success() {
        return Err("it comes up".into());
    }
    let (told, ended) = mpsc::channel();
    thread::spawn(move || told.send(pipe.read_to_end(&mut Vec::new())));
    match ended.recv_timeout(EOF) {
        Ok(read) => _ = read?,
        Err(_) => return Err("the supervisor keeps a pipe open that it was started with".into()),
    }
    if folder.labs()?.len() != 1 {
        return Err("the lab is up all the same".into());
    }
    folder.ask(&["apply", "overlay-down: worker"])?;
    folder.ask(&["down"]).map(drop)
}

/// A limit of the script's own user namespace.
const NO_PIDS: &str = "echo 0 > /proc/sys/user/max_pid_namespaces && \"$@\"";

fn limited(folder: &Folder) -> Result<(), Failed> {
    let mut up = with(apart_from_here(&[], NO_PIDS), &folder.command(&["up", "--name", "limited", SCENARIO])?);
    let output = up.output()?;
    let cause = "make a pid namespace: No space left on device";
    refused(&output, exit::HARNESS, &[cause, "sysctl user.max_pid_namespaces="])?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("systempaths") { Err(format!("/proc isn't the cause:\n{said}").into()) } else { Ok(()) }
}

fn dead_agents(folder: &Folder) -> Result<(), Failed> {
    let told = folder.ask(&["up", "--detach", "--name", "dead", "scenarios/devices/fatal.yaml::none"])?;
    if !told.contains("agent dead:") {
        return Err(format!("it says what they died of:\n{told}").into());
    }
    ended(&folder.run(&["exec", "master", "--", "true"])?, exit::OK, "the node is there")?;
    refused(&folder.run(&["exec", "master/pod", "--", "true"])?, exit::USAGE, &["there is no place `master/pod`"])
}

fn foreground(folder: &Folder) -> Result<(), Failed> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut child = folder.command(&["up", "--name", "here", SCENARIO])?.stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        if !lines.any(|line| line.is_ok_and(|line| line == "Up until Ctrl-C.")) {
            return Err("it says how to end it".into());
        }
        ended(&folder.run(&["exec", "master", "--", "true"])?, exit::OK, "it is up")?;
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        let status = child.wait()?;
        if status.code() != Some(0) {
            return Err(format!("that is how it is meant to end: {status}").into());
        }
        folder.is_empty()?;
    }
    Ok(())
}
