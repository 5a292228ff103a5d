//! `underlay compare` and `underlay bisect` on real labs: what changes between versions, and where it began.

mod program;

use std::process::ExitCode;

use libtest_mimic::Failed;
use program::{ended, json, underlay};
use serde_json::Value;
use underlay::exit;

const OVERLAY: &str = "scenarios/devices/node-ip-overlay.yaml";
const MTU: &str = "scenarios/overlay/pod-mtu.yaml";

fn main() -> ExitCode {
    program::run(&[
        ("compare::from_1_18_to_1_19_packets_die_elsewhere", to_1_19),
        ("compare::from_1_16_to_1_17_the_pods_mtu_grows", to_1_17),
        ("compare::the_guide_and_cilium", guide_and_cilium),
        ("compare::values_lie_between_scenario_and_variant", values),
        ("compare::a_report_with_what_is_now", report_and_now),
        ("compare::what_is_decided_alike_comes_to_the_same", alike),
        ("bisect::finds_1_19", bisect_1_19),
        ("bisect::finds_1_17_0_among_minor_versions", bisect_mtu),
        ("bisect::finds_the_values_file", bisect_values),
        ("bisect::goes_on_where_it_was", bisect_resume),
        ("bisect::the_ends_must_be_what_they_are_said_to_be", bisect_ends),
    ])
}

/// The cell of that subject in a variant.
fn cell<'a>(comparison: &'a Value, variant: &str, subject: &str) -> Result<&'a Value, Failed> {
    let all = comparison["changed"].as_array().into_iter().flatten();
    all.filter(|case| case["variant"] == variant)
        .flat_map(|case| case["cells"].as_array().into_iter().flatten())
        .find(|cell| cell["subject"] == subject)
        .ok_or_else(|| format!("{subject} of {variant} should have changed: {comparison:#}").into())
}

/// A decision of a variant's nodes.
fn decision<'a>(comparison: &'a Value, variant: &str, name: &str) -> Result<&'a Value, Failed> {
    let all = comparison["changed"].as_array().into_iter().flatten();
    all.filter(|case| case["variant"] == variant)
        .flat_map(|case| case["decisions"].as_array().into_iter().flatten())
        .find(|change| change["decision"] == name)
        .ok_or_else(|| format!("{name} of {variant} should have changed: {comparison:#}").into())
}

fn is(value: &Value, expected: &str, why: &str) -> Result<(), Failed> {
    let text = value.as_str().unwrap_or_default();
    if text.contains(expected) { Ok(()) } else { Err(format!("{value} without {expected:?}: {why}").into()) }
}

fn same(value: &Value, expected: impl Into<Value>, why: &str) -> Result<(), Failed> {
    let expected = expected.into();
    if *value == expected { Ok(()) } else { Err(format!("{value}, not {expected}: {why}").into()) }
}

fn to_1_19() -> Result<(), Failed> {
    let found = json(&["compare", "1.18.2", "1.19", OVERLAY], exit::FAILED)?;
    same(&found["schema"], "underlay.compare/1", "the schema is promised")?;
    let internet = cell(&found, "tailscale0", "internet")?;
    is(&internet["before"], "tailscale0: no overlay peer has 8.8.8.8", "skip-FIB throws it into the overlay")?;
    is(&internet["after"], "vcn a: source check", "the routes lead to the NIC, which isn't masqueraded")?;
    same(&internet["behind"], vec!["skip-fib"], "nothing else changed")?;
    let own = cell(&found, "enp0s6", "own-node")?;
    same(&own["after"], "works", "a local address is found by the lookup")?;
    same(&own["trend"], "worse", "that it fails was asserted of 1.18.2")?;
    let skip_fib = decision(&found, "tailscale0", "skip-fib")?;
    is(&skip_fib["before"]["source"], "ENABLE_SKIP_FIB", "the rule's place")?;
    is(&skip_fib["after"]["source"], "#43277", "the change that took it away")?;
    for variant in ["unset", "enp0s6,tailscale0"] {
        if found["changed"].as_array().into_iter().flatten().any(|case| case["variant"] == variant) {
            return Err(format!("{variant} never had skip-FIB: {found:#}").into());
        }
    }

    let output = underlay(&["compare", "1.18.2", "1.19", &format!("{OVERLAY}::tailscale0")])?;
    ended(&output, exit::FAILED)?;
    let text = String::from_utf8(output.stdout)?;
    match text.lines().find(|line| line.chars().count() > 80) {
        Some(line) => Err(format!("too wide: {line:?}").into()),
        None if text.contains("cilium #43277") => Ok(()),
        None => Err(format!("no source of the rule:\n{text}").into()),
    }
}

fn to_1_17() -> Result<(), Failed> {
    let found = json(&["compare", "1.16", "1.17", MTU], exit::OK)?;
    let ping = cell(&found, "enp0s6", "df-1203")?;
    same(&ping["before"], "too-big", "the MTU was the node IP's device's")?;
    same(&ping["after"], "works", "and is the smallest of the selected ones'")?;
    same(&ping["behind"], vec!["pod-mtu"], "a matter of size")?;
    let mtu = decision(&found, "enp0s6", "pod-mtu")?;
    same(&mtu["before"]["value"], "1230", "tailscale0's, less VXLAN")?;
    same(&mtu["after"]["value"], "8950", "enp0s6's, less VXLAN")?;
    is(&mtu["after"]["source"], "pkg/mtu/manager.go", "the rule's place")
}

/// Run all the same, nothing changes where it was foretold that nothing can.
fn alike() -> Result<(), Failed> {
    let file = "scenarios/devices/detection.yaml";
    let ids = |comparison: &Value| comparison["decided_alike"].as_array().map_or(0, Vec::len);
    let output = underlay(&["compare", "1.18.2", "1.19", file, "--format", "json"])?;
    let foretold: Value = serde_json::from_slice(&output.stdout)?;
    let run: Value =
        serde_json::from_slice(&underlay(&["compare", "1.18.2", "1.19", file, "--all", "--format", "json"])?.stdout)?;
    if ids(&foretold) == 0 || ids(&run) > 0 {
        return Err(format!("with two devices versions decide alike: {foretold:#}\n{run:#}").into());
    }
    // On a machine that is too busy silence proves nothing, and a verdict says so.
    let sure = |case: &&Value| ["before", "after"].iter().all(|side| case[side]["verdict"] != "inconclusive");
    let changed = |comparison: &Value| -> Vec<Value> {
        comparison["changed"].as_array().into_iter().flatten().filter(sure).cloned().collect()
    };
    if changed(&run).iter().any(|case| !changed(&foretold).contains(case)) {
        return Err(format!("what was not run should not change: {foretold:#}\n{run:#}").into());
    }
    Ok(())
}

fn guide_and_cilium() -> Result<(), Failed> {
    let case = "scenarios/guide/table.yaml::enp0s6";
    let found = json(&["compare", "model:guide", "model:cilium", case], exit::FAILED)?;
    same(&cell(&found, "enp0s6", "pod-to-pod")?["after"], "works", "Cilium's node IP is the Node object's")?;
    let node_ip = decision(&found, "enp0s6", "node-ip")?;
    is(&node_ip["before"]["source"], "the guide, §4", "whose rule it was")
}

fn values() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, text: &str| -> std::io::Result<String> {
        let path = folder.path().join(name);
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let (now, planned) = (file("now.yaml", "# as it is\n")?, file("planned.yaml", "devices: enp0s6\n")?);
    let found = json(&["compare", &now, &planned, OVERLAY], exit::FAILED)?;
    same(&decision(&found, "unset", "devices")?["after"]["value"], "enp0s6", "the variant leaves it to the scenario")?;
    same(&found["summary"]["compared"], 1, "all other variants say which devices")?;
    let left = &found["not_compared"];
    match left.as_array().map(Vec::len) {
        Some(3) => is(&left[0]["why"], "the variant sets `devices` itself", "why it isn't compared"),
        _ => Err(format!("three variants are left as they are: {left:#}").into()),
    }
}

fn report_and_now() -> Result<(), Failed> {
    let output = underlay(&["test", &format!("{MTU}::enp0s6"), "--format", "json"])?;
    ended(&output, exit::OK)?;
    let folder = tempfile::tempdir()?;
    let kept = folder.path().join("kept.json");
    std::fs::write(&kept, &output.stdout)?;
    let kept = kept.display().to_string();
    // The same once more: nothing is left to chance.
    let found = json(&["compare", &kept, "1.18.2"], exit::OK)?;
    same(&found["summary"]["compared"], 1, "a report's own cases are run")?;
    same(&found["changed"], Value::Array(Vec::new()), "nothing changed")?;
    let found = json(&["compare", &kept, "1.16"], exit::FAILED)?;
    same(&cell(&found, "enp0s6", "df-1203")?["trend"], "worse", "it was asserted to work")?;
    // Two reports need no lab.
    let found = json(&["compare", &kept, &kept], exit::OK)?;
    same(&found["changed"], Value::Array(Vec::new()), "a report against itself")
}

fn bisect_1_19() -> Result<(), Failed> {
    let case = format!("{OVERLAY}::tailscale0");
    let found = json(&["bisect", "--good", "1.18.2", "--bad", "1.19", &case], exit::OK)?;
    same(&found["schema"], "underlay.bisect/1", "the schema is promised")?;
    same(&found["first_bad"], vec!["1.19.0"], "skip-FIB went with it")?;
    decision(&found["comparison"], "tailscale0", "skip-fib").map(drop)
}

fn bisect_mtu() -> Result<(), Failed> {
    let case = format!("{MTU}::enp0s6");
    let asked = ["--subject", "df-1203", "--expect", "too-big", "--runs", "2-of-3"];
    let found = json(&[&["bisect", "--good", "1.14", "--bad", "1.18.2", &case], &asked[..]].concat(), exit::OK)?;
    same(&found["first_bad"], vec!["1.17.0"], "the MTU's source changed with it")?;
    same(&found["last_good"], "1.16", "the line before")?;
    let runs = found["steps"].as_array().into_iter().flatten().map(|step| step["runs"].as_array().map_or(0, Vec::len));
    match runs.clone().all(|runs| runs == 3) && runs.count() >= 4 {
        true => Ok(()),
        false => Err(format!("each step runs three times: {:#}", found["steps"]).into()),
    }
}

fn bisect_values() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (index, text) in ["{}", "MTU: 1400", "devices: enp0s6", "{devices: enp0s6, MTU: 1400}"].iter().enumerate() {
        let path = folder.path().join(format!("{index}.yaml"));
        std::fs::write(&path, text)?;
        files.push(path.display().to_string());
    }
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let case = format!("{OVERLAY}::unset");
    let asked = ["bisect", &case, "--subject", "own-node", "--expect", "works", "--values"];
    let found = json(&[&asked[..], &files].concat(), exit::OK)?;
    same(&found["first_bad"], vec!["2.yaml"], "it leaves tailscale0 out")?;
    decision(&found["comparison"], "unset", "devices").map(drop)
}

fn bisect_resume() -> Result<(), Failed> {
    let folder = tempfile::TempDir::new()?;
    let file = folder.path().join("state.json");
    let state = file.display().to_string();
    let case = format!("{OVERLAY}::tailscale0");
    let asked = ["bisect", "--bad", "1.19", "--subject", "own-nic", &case, "--state", &state];
    let whole = json(&[&asked[..], &["--good", "1.16"]].concat(), exit::OK)?;

    // As it was before its last step.
    let mut kept: Value = serde_json::from_slice(&std::fs::read(&file)?)?;
    let steps = kept["steps"].as_object_mut().ok_or("steps by candidate")?;
    let names: Vec<_> = steps.keys().cloned().collect();
    let count = names.len();
    if count != whole["steps"].as_array().map_or(0, Vec::len) || count < 3 {
        return Err(format!("every step is kept: {names:?}, {whole:#}").into());
    }
    steps.remove(&names[1]);
    for step in steps.values_mut() {
        step["milliseconds"] = Value::from(123_456);
    }
    std::fs::write(&file, kept.to_string())?;
    let resumed = json(&[&asked[..], &["--good", "1.16", "--resume"]].concat(), exit::OK)?;
    let remembered = resumed["steps"].as_array().into_iter().flatten();
    let remembered = remembered.filter(|step| step["milliseconds"] == 123_456).count();
    if remembered + 1 != count || resumed["first_bad"] != whole["first_bad"] {
        return Err(format!("{remembered} of {count} steps remembered: {resumed:#} should be as {whole:#}").into());
    }
    for (good, resume, words) in [("1.17", true, "it holds another search"), ("1.16", false, "it is there already")] {
        let more = if resume { vec!["--good", good, "--resume"] } else { vec!["--good", good] };
        let output = underlay(&[&asked[..], &more].concat())?;
        ended(&output, exit::USAGE)?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !said.contains(words) {
            return Err(format!("should say {words:?}: {said}").into());
        }
    }
    Ok(())
}

fn bisect_ends() -> Result<(), Failed> {
    let case = format!("{OVERLAY}::tailscale0");
    for (good, bad, expect, told) in [
        ("1.18.2", "1.19", "works", "1.18.2 is said to be good, and is bad"),
        ("1.17", "1.18.2", "fails", "1.18.2 is said to be bad, and is good"),
    ] {
        let asked = ["bisect", "--good", good, "--bad", bad, "--subject", "internet", "--expect", expect, &case];
        let output = underlay(&asked)?;
        ended(&output, exit::USAGE)?;
        let error = String::from_utf8_lossy(&output.stderr);
        if !error.contains(told) {
            return Err(format!("no {told:?} in {error}").into());
        }
    }
    Ok(())
}
